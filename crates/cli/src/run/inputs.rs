//! Where inputs come from: files, pictures, or a seed.

use super::picture;
use super::sizes::{Budget, Sizes};
use crate::Failure;
use std::collections::HashMap;
use std::path::Path;
use tilewright::graph::{Bindings, Fact, samples};
use tilewright::onnx::{ReadOptions, load_tensor};
use tilewright::tensor::npy;
use tilewright::{Graph, HostTensor};

/// The options that give a model its inputs.
#[derive(clap::Args)]
pub(crate) struct InputArgs {
    /// An input: a .npy or .pb file, a picture (png, jpeg), or `random`. A picture goes into [1, C, height, width] or
    /// [1, height, width, C] with C of 1, 3 or 4, as floats in 0..1 or u8 in 0..255, scaled where the model has a size.
    #[arg(long = "input", value_name = "NAME=SOURCE")]
    inputs: Vec<String>,
    /// A symbolic size, for example batch=4. Sizes not given are those of the files, else 1; 0 needs to be given.
    #[arg(long = "size", value_name = "NAME=N")]
    sizes: Vec<String>,
    /// Seed of random inputs: floats in 0..1, integers 0 or 1.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl InputArgs {
    /// How to read the model: sizes given as 0 may be 0, and inputs that are given are inputs.
    pub(crate) fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::new();
        for (name, _) in self
            .sizes
            .iter()
            .filter_map(|s| s.split_once('='))
            .filter(|s| s.1 == "0")
        {
            options = options.maybe_empty(name);
        }
        for (name, _) in self.inputs.iter().filter_map(|s| s.split_once('=')) {
            options = options.overridden(name);
        }
        options
    }

    /// Every input of the graph, in its order; random where the command line gives none. Together they take at most
    /// `limit` bytes.
    pub(crate) fn load(
        &self,
        graph: &Graph,
        limit: u64,
    ) -> Result<Vec<(String, HostTensor)>, Failure> {
        let mut sizes = Sizes::given(graph, &self.sizes)?;
        let sources = self.sources(graph)?;
        let named = |name: &str, e: Failure| Failure::from(format!("input `{name}`: {e}"));
        let mut opened = vec![];
        for (name, value) in graph.inputs() {
            let path = sources.get(&**name).copied().unwrap_or("random");
            let source = Source::open(path).map_err(|e| named(name, e))?;
            opened.push((name, path, graph.fact(*value), source));
        }
        // Tensors leave no choice; pictures fit themselves to what is said.
        for pictures in [false, true] {
            for (name, path, fact, source) in &mut opened {
                let Some(fact) = fact else { continue };
                if matches!(source, Source::Picture(..)) == pictures {
                    let learned = source.learn(path, fact, &mut sizes);
                    learned.map_err(|e| named(name, e))?;
                }
            }
        }
        let bindings = sizes.bindings(graph);
        let mut budget = Budget { limit, used: 0 };
        let mut inputs = vec![];
        for (i, (name, _, fact, source)) in opened.into_iter().enumerate() {
            let seed = self.seed.wrapping_add(i as u64);
            let tensor = source.tensor(fact, &bindings, seed, &mut budget);
            inputs.push((name.to_string(), tensor.map_err(|e| named(name, e))?));
        }
        Ok(inputs)
    }

    fn sources(&self, graph: &Graph) -> Result<HashMap<&str, &str>, Failure> {
        let mut sources = HashMap::new();
        for input in &self.inputs {
            let split = input.split_once('=');
            let (name, source) =
                split.ok_or_else(|| format!("--input {input}: write NAME=SOURCE"))?;
            if !graph.inputs().iter().any(|(n, _)| &**n == name) {
                let names: Vec<&str> = graph.inputs().iter().map(|(n, _)| &**n).collect();
                let names = names.join(", ");
                return Err(format!("the model has no input `{name}`; it has {names}").into());
            }
            if sources.insert(name, source).is_some() {
                return Err(format!("input `{name}` is given twice").into());
            }
        }
        Ok(sources)
    }
}

/// What an input is made of.
enum Source {
    Random,
    Tensor(HostTensor),
    /// With its layout once that was learned.
    Picture(image::DynamicImage, Option<picture::Layout>),
}

impl Source {
    fn open(source: &str) -> Result<Source, Failure> {
        let extension = Path::new(source).extension().and_then(|e| e.to_str());
        Ok(match (source, extension.unwrap_or_default()) {
            ("random", _) => Source::Random,
            (path, "npy") => Source::Tensor(npy::read(&read(path)?)?),
            (path, "pb") => Source::Tensor(load_tensor(&read(path)?)?),
            (path, _) => Source::Picture(picture::open(path, &read(path)?)?, None),
        })
    }

    /// Tells `sizes` what the source says of the input's symbols.
    fn learn(&mut self, path: &str, fact: &Fact, sizes: &mut Sizes) -> Result<(), Failure> {
        match self {
            Source::Random => Ok(()),
            Source::Picture(picture, layout) => {
                *layout = Some(picture::learn(picture, path, fact, sizes)?);
                Ok(())
            }
            // Another rank is an error that the session names.
            Source::Tensor(t) if t.shape().len() != fact.rank() => Ok(()),
            Source::Tensor(t) => {
                for (d, &n) in fact.shape.iter().zip(&t.shape()[..]) {
                    if let Some(symbol) = d.as_symbol() {
                        sizes.learn(symbol, i64::try_from(n)?, path.to_owned())?;
                    }
                }
                Ok(())
            }
        }
    }

    fn tensor(
        self,
        fact: Option<&Fact>,
        bindings: &Bindings,
        seed: u64,
        budget: &mut Budget,
    ) -> Result<HostTensor, Failure> {
        if let Source::Tensor(t) = self {
            return Ok(t);
        }
        let fact = fact.ok_or("its shape is not declared; give a .npy or .pb file")?;
        let shape = fact.bind(bindings)?;
        if let Source::Picture(picture, layout) = self {
            let layout = layout.ok_or("the layout of the picture is not known")?;
            return picture::tensor(&picture, fact, &shape, layout, budget);
        }
        // Random numbers are made as floats.
        budget.take(&shape, fact.dtype.size_bytes().max(4))?;
        let high = if fact.dtype.is_float() { 1.0 } else { 2.0 };
        Ok(samples::between(&shape, seed, 0.0, high).cast(fact.dtype)?)
    }
}

fn read(path: &str) -> Result<Vec<u8>, Failure> {
    Ok(std::fs::read(path).map_err(|e| format!("{path}: {e}"))?)
}
