//! The models that are mutated: every operator's cases as models of one node, nets that join many operators, the
//! example's models, and those of the conformance suite where it is unpacked, its real ones above all.

use std::path::{Path, PathBuf};

use prost::Message;
use tilewright::graph::{Attr, Case, Op};
use tilewright::onnx::proto::NodeProto;
use tilewright::onnx::{Error, NoExternalData, load_tensor, read_model};
use tilewright::tensor::HostTensor;

use crate::build::Net;
use crate::nets::nets;

/// Larger models are left out.
const MOST_BYTES: usize = 300_000;

/// A sound model and inputs for it.
pub(crate) struct Base {
    pub(crate) name: String,
    pub(crate) file: Vec<u8>,
    pub(crate) inputs: Vec<(String, HostTensor)>,
}

impl Base {
    pub(crate) fn new(name: &str, net: Net, inputs: &[(&str, HostTensor)]) -> Base {
        Base {
            name: name.to_owned(),
            file: net.model().encode_to_vec(),
            inputs: inputs
                .iter()
                .map(|(n, t)| ((*n).to_owned(), t.clone()))
                .collect(),
        }
    }
}

/// By where they come from, and how often those are picked.
pub(crate) struct Bases(Vec<(usize, Vec<Base>)>);

impl Bases {
    pub(crate) fn load() -> Bases {
        let cases = Op::cases().iter().filter_map(of_case).collect();
        let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits");
        let mut kinds = vec![(4, cases), (2, nets()), (1, files(&digits))];
        if let Some(suite) = std::env::var_os("TILEWRIGHT_SUITE").map(PathBuf::from) {
            let real = suite.join("real");
            let other = files(&suite).into_iter();
            let other = other.filter(|base| !Path::new(&base.name).starts_with(&real));
            kinds.extend([(4, other.collect()), (2, files(&real))]);
        }
        for (_, bases) in &kinds {
            assert!(
                !bases.is_empty(),
                "a kind of model is not where it should be"
            );
        }
        Bases(kinds)
    }

    /// A node for every operator's every case.
    pub(crate) fn donors(&self) -> Vec<NodeProto> {
        let nodes = self.0[0].1.iter().map(|base| {
            let model = tilewright::onnx::decode_model(base.file.clone()).ok()?;
            model.graph?.node.pop()
        });
        nodes.flatten().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.all().count()
    }

    /// The base for two random numbers.
    pub(crate) fn pick(&self, kind: usize, which: usize) -> &Base {
        let total: usize = self.0.iter().map(|(share, _)| share).sum();
        let shares = self
            .0
            .iter()
            .flat_map(|kind| std::iter::repeat_n(&kind.1, kind.0));
        let mut shares = shares.skip(kind % total);
        let bases = shares.next().unwrap_or(&self.0[0].1);
        &bases[which % bases.len()]
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Base> {
        self.0.iter().flat_map(|(_, bases)| bases)
    }
}

/// A case as a model; none where no file has the operator, or it has subgraphs.
fn of_case(case: &Case) -> Option<Base> {
    let attrs = case.op.attrs();
    let attrs: Vec<(&str, Attr)> = attrs.iter().map(|(k, v)| (k, v.clone())).collect();
    if attrs.iter().any(|(_, a)| matches!(a, Attr::Graph(_))) {
        return None;
    }
    let outputs = case
        .op
        .reference(&case.inputs.iter().map(Option::as_ref).collect::<Vec<_>>());
    let count = outputs.ok()?.len();
    let (mut net, mut names, mut inputs) = (Net::new(), vec![], vec![]);
    for (i, tensor) in case.inputs.iter().enumerate() {
        let name = format!("x{i}");
        let Some(tensor) = tensor else {
            names.push(String::new());
            continue;
        };
        if case.constant.contains(&i) {
            net = net.init(&name, tensor);
        } else {
            let sizes: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
            let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
            net = net.input(&name, tensor.dtype(), &sizes);
            inputs.push((name.clone(), tensor.clone()));
        }
        names.push(name);
    }
    let outputs: Vec<String> = (0..count).map(|i| format!("y{i}")).collect();
    let [names, outputs] =
        [&names, &outputs].map(|n| n.iter().map(String::as_str).collect::<Vec<_>>());
    net = net.node(case.op.name(), &names, &outputs, &attrs);
    for name in outputs {
        net = net.output(name);
    }
    let file = net.model().encode_to_vec();
    let name = format!("case {} `{}`", case.op.name(), case.name);
    let read = read_model(file.clone(), &NoExternalData);
    let fits = file.len() <= MOST_BYTES && !matches!(read, Err(Error::UnknownOperator { .. }));
    fits.then_some(Base { name, file, inputs })
}

/// Every `.onnx` file below a folder, with the inputs that lie beside it as the suite has them.
fn files(folder: &Path) -> Vec<Base> {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "onnx")
                && entry.metadata().is_ok_and(|m| m.len() <= MOST_BYTES as u64)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found.iter().filter_map(of_file).collect()
}

fn of_file(path: &PathBuf) -> Option<Base> {
    let file = std::fs::read(path).ok()?;
    let model = tilewright::onnx::decode_model(file.clone()).ok()?;
    let graph = model.graph?;
    let mut inputs = vec![];
    let given = graph
        .input
        .iter()
        .filter(|i| !graph.initializer.iter().any(|t| t.name() == i.name()));
    for (i, info) in given.enumerate() {
        let at = path.with_file_name(format!("test_data_set_0/input_{i}.pb"));
        if let Some(tensor) = std::fs::read(at).ok().and_then(|f| load_tensor(&f).ok()) {
            inputs.push((info.name().to_owned(), tensor));
        }
    }
    Some(Base {
        name: path.display().to_string(),
        file,
        inputs,
    })
}
