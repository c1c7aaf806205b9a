//! Where inputs come from: files, pictures, or a seed.

use crate::Failure;
use std::collections::HashMap;
use std::path::Path;
use tilewright::graph::{Bindings, Symbol, samples};
use tilewright::onnx::{ReadOptions, load_tensor};
use tilewright::tensor::npy;
use tilewright::{DType, Graph, HostTensor};

/// The options that give a model its inputs.
#[derive(clap::Args)]
pub(crate) struct InputArgs {
    /// An input: a .npy or .pb file, a picture (png, jpeg; scaled to the input's size, 0..1), or `random`.
    #[arg(long = "input", value_name = "NAME=SOURCE")]
    inputs: Vec<String>,
    /// A symbolic size for random inputs, for example batch=4; sizes not given are 1.
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

    /// Every input of the graph, in its order; random where the command line gives none.
    pub(crate) fn load(&self, graph: &Graph) -> Result<Vec<(String, HostTensor)>, Failure> {
        let bindings = self.bindings(graph)?;
        let sources = self.sources(graph)?;
        let mut inputs = vec![];
        for (i, (name, value)) in graph.inputs().iter().enumerate() {
            let fact = graph.fact(*value);
            let shape = fact.map(|f| f.bind(&bindings)).transpose()?;
            let wanted = fact.map(|f| f.dtype).zip(shape);
            let source = sources.get(&**name).copied().unwrap_or("random");
            let seed = self.seed.wrapping_add(i as u64);
            let tensor = load(source, wanted, seed).map_err(|e| format!("input `{name}`: {e}"))?;
            inputs.push((name.to_string(), tensor));
        }
        Ok(inputs)
    }

    fn bindings(&self, graph: &Graph) -> Result<Bindings, Failure> {
        let symbols = graph.symbols();
        let mut bindings = Bindings::default();
        for symbol in &symbols {
            bindings.set(symbol.clone(), 1);
        }
        for size in &self.sizes {
            let split = size.split_once('=');
            let (name, n) = split.ok_or_else(|| format!("--size {size}: write NAME=N"))?;
            let symbol = Symbol::new(name);
            if !symbols.contains(&symbol) {
                let names: Vec<String> =
                    symbols.iter().map(|s| format!("`{}`", s.name())).collect();
                let has = if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                };
                return Err(format!("--size {size}: the model's symbolic sizes are {has}").into());
            }
            let n = n.parse().ok().filter(|&n: &i64| n >= 0);
            let n = n.ok_or_else(|| format!("--size {size}: not a whole number"))?;
            bindings.set(symbol, n);
        }
        Ok(bindings)
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

fn load(
    source: &str,
    wanted: Option<(DType, Vec<usize>)>,
    seed: u64,
) -> Result<HostTensor, Failure> {
    let extension = Path::new(source)
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    match (source, extension) {
        ("random", _) => {
            let (dtype, shape) = wanted.ok_or("its shape is not declared; give a file")?;
            let t = samples::between(&shape, seed, 0.0, if dtype.is_float() { 1.0 } else { 2.0 });
            Ok(t.cast(dtype)?)
        }
        (path, "npy") => Ok(npy::read(&read(path)?)?),
        (path, "pb") => Ok(load_tensor(&read(path)?)?),
        (path, _) => picture(path, wanted),
    }
}

fn read(path: &str) -> Result<Vec<u8>, Failure> {
    Ok(std::fs::read(path).map_err(|e| format!("{path}: {e}"))?)
}

/// A picture as [1, channels, height, width] in 0..1.
fn picture(path: &str, wanted: Option<(DType, Vec<usize>)>) -> Result<HostTensor, Failure> {
    let Some((dtype, shape)) = wanted else {
        return Err("its shape is not declared; give a .npy file".into());
    };
    let [1, c @ (1 | 3), h, w] = shape[..] else {
        return Err(format!(
            "a picture needs a shape of [1, 1 or 3, height, width], not {shape:?}"
        )
        .into());
    };
    let picture = image::load_from_memory(&read(path)?).map_err(|e| format!("{path}: {e}"))?;
    let picture = picture.resize_exact(w as u32, h as u32, image::imageops::FilterType::Triangle);
    let pixels = if c == 1 {
        picture.to_luma8().into_raw()
    } else {
        picture.to_rgb8().into_raw()
    };
    let mut planes = vec![0f32; c * h * w];
    for (i, value) in pixels.into_iter().enumerate() {
        planes[i % c * h * w + i / c] = f32::from(value) / 255.0;
    }
    Ok(HostTensor::from_vec(shape, planes)?.cast(dtype)?)
}
