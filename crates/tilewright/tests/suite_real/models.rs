//! Finding the suite's models and their data.

use std::path::{Path, PathBuf};

use tilewright::onnx::{load_tensor, read_model_file};
use tilewright::{Gpu, GpuOptions, Graph, HostTensor, Model, ModelOptions, Session, block_on};

/// How many real models the suite holds; fewer found would be a test of less than it says.
const REAL_MODELS: usize = 29;

/// The unpacked suite.
pub(crate) fn suite() -> PathBuf {
    let folder = std::env::var_os("TILEWRIGHT_SUITE");
    let folder = folder.expect("TILEWRIGHT_SUITE names no suite: run ./x test conformance");
    PathBuf::from(folder)
}

/// The folders below `folder`, sorted by name.
pub(crate) fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = paths.filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

/// A model with the data of its tests.
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

/// The known architectures.
pub(crate) fn real() -> Vec<Test> {
    let tests: Vec<Test> = folders(&suite().join("real"))
        .into_iter()
        .map(Test::new)
        .collect();
    assert_eq!(tests.len(), REAL_MODELS, "models in {}", suite().display());
    tests
}

impl Test {
    pub(crate) fn new(folder: PathBuf) -> Test {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        Test { name, folder }
    }

    /// A real model by its name.
    pub(crate) fn named(name: &str) -> Test {
        Test::new(suite().join("real").join(name))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("model.onnx")
    }

    pub(crate) fn graph(&self) -> Graph {
        read_model_file(self.path()).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// Tensor `kind_index` of the first set of data.
    pub(crate) fn tensor(&self, kind: &str, index: usize) -> HostTensor {
        let path = self
            .folder
            .join(format!("test_data_set_0/{kind}_{index}.pb"));
        let file = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        load_tensor(&file).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// A session that was run on the first set of data, so that every part of it is planned.
    pub(crate) fn run_on(&self, gpu: &Gpu) -> Session {
        let model = Model::new(self.graph(), gpu, ModelOptions::default());
        let mut session = Session::new(&model).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let names = model.graph().inputs().iter().enumerate();
        let inputs: Vec<(&str, HostTensor)> = names
            .map(|(i, (name, _))| (&**name, self.tensor("input", i)))
            .collect();
        block_on(session.run(&inputs)).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        session
    }
}

/// The adapter with all its limits and features.
pub(crate) fn adapter() -> Gpu {
    block_on(Gpu::new(GpuOptions::new())).expect("these tests need an adapter")
}

/// The same with the limits that every adapter has, and no features.
pub(crate) fn default_limits() -> Gpu {
    block_on(Gpu::new(GpuOptions::new().default_limits_only()))
        .expect("these tests need an adapter")
}
