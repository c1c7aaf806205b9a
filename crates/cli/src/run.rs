//! `tilewright run`: one model, named inputs, outputs printed or written.

use crate::Failure;
use crate::device::{DeviceArgs, model};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tilewright::graph::{Bindings, Symbol};
use tilewright::onnx::{load_tensor, read_model_file, save_tensor};
use tilewright::tensor::npy;
use tilewright::{DType, Graph, HostTensor, NodeTime, Session, block_on};

/// Arguments of `run`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright run resnet.onnx --input x=cat.png --repeat 20\n\
    Inputs not given are random; sizes not given are 1."
)]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,
    /// An input: a .npy or .pb file, a picture (png, jpeg; scaled to the input's size, 0..1), or `random`.
    #[arg(long = "input", value_name = "NAME=SOURCE")]
    inputs: Vec<String>,
    /// A symbolic size for random inputs, for example batch=4.
    #[arg(long = "size", value_name = "NAME=N")]
    sizes: Vec<String>,
    /// Write every output here as .npy.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Run this many times and report the median.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Print the time of every dispatch.
    #[arg(long)]
    profile: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Loads, runs, reports.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let started = Instant::now();
    let bar = spinner("loading");
    let graph = read_model_file(&args.model)?;
    let gpu = args.device.gpu()?;
    let mut session = Session::new(&model(graph, gpu.as_ref(), args.device.options()))?;
    let inputs = inputs_of(session.model().graph(), &args.inputs, &args.sizes)?;
    let named: Vec<(&str, HostTensor)> = inputs
        .iter()
        .map(|(n, t)| (n.as_str(), t.clone()))
        .collect();
    bar.set_message("compiling and running");
    let outputs = block_on(session.run(&named))?;
    let first = started.elapsed();
    let times = repeats(&mut session, &named, args.repeat, &bar)?;
    let profile = if args.profile {
        block_on(session.profile(&named))?
    } else {
        vec![]
    };
    bar.finish_and_clear();
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder)?;
        for (name, tensor) in &outputs {
            write_output(folder, name, tensor)?;
        }
    }
    let adapter = gpu
        .as_ref()
        .map_or("host".to_owned(), |g| g.info().name.clone());
    if args.json {
        return json(&adapter, first, &times, &outputs, &profile);
    }
    println!(
        "adapter {adapter}; load to first result {:.1} ms",
        millis(first)
    );
    if let Some(median) = median(&times) {
        println!("median of {} runs {:.3} ms", times.len(), millis(median));
    }
    for step in session.host_steps() {
        println!("on the host: {} `{}`: {}", step.op, step.node, step.reason);
    }
    for (name, tensor) in &outputs {
        println!("{name}: {tensor}");
        top(tensor);
    }
    for t in &profile {
        println!(
            "{:>10.1} us  {:<20} {:<16} {}",
            t.nanoseconds as f64 / 1e3,
            t.op,
            t.shader,
            t.node
        );
    }
    Ok(())
}

fn spinner(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn repeats(
    session: &mut Session,
    inputs: &[(&str, HostTensor)],
    repeat: usize,
    bar: &ProgressBar,
) -> Result<Vec<Duration>, Failure> {
    if repeat < 2 {
        return Ok(vec![]);
    }
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {eta}")?);
    bar.set_length(repeat as u64);
    (0..repeat)
        .map(|_| {
            let start = Instant::now();
            block_on(session.run(inputs))?;
            bar.inc(1);
            Ok(start.elapsed())
        })
        .collect()
}

fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied()
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// The five largest entries of each row of a matrix of scores.
fn top(tensor: &HostTensor) {
    let shape = tensor.shape();
    if !tensor.dtype().is_float() || shape.len() != 2 || shape[1] < 2 {
        return;
    }
    for (row, scores) in tensor.to_f64().chunks(shape[1]).enumerate().take(8) {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let best: Vec<String> = order
            .iter()
            .take(5)
            .map(|&i| format!("{i}: {:.4}", scores[i]))
            .collect();
        println!("  row {row}: {}", best.join("  "));
    }
}

fn write_output(folder: &Path, name: &str, tensor: &HostTensor) -> Result<(), Failure> {
    let file: String = name
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    // Types that .npy does not know go out as TensorProto.
    let (path, bytes) = match npy::write(tensor) {
        Ok(bytes) => (folder.join(format!("{file}.npy")), bytes),
        Err(_) => (folder.join(format!("{file}.pb")), save_tensor(name, tensor)),
    };
    std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(())
}

fn json(
    adapter: &str,
    first: Duration,
    times: &[Duration],
    outputs: &[(std::sync::Arc<str>, HostTensor)],
    profile: &[NodeTime],
) -> Result<(), Failure> {
    let outputs: Vec<_> = outputs
        .iter()
        .map(|(n, t)| serde_json::json!({"name": &**n, "dtype": t.dtype().to_string(), "shape": t.shape().to_vec()}))
        .collect();
    let nodes: Vec<_> = profile
        .iter()
        .map(|t| serde_json::json!({"node": t.node, "op": t.op, "shader": t.shader, "ns": t.nanoseconds}))
        .collect();
    let runs: Vec<f64> = times.iter().copied().map(millis).collect();
    let report = serde_json::json!({
        "format": "tilewright-run", "version": 1, "adapter": adapter, "first_ms": millis(first),
        "runs_ms": runs, "outputs": outputs, "nodes": nodes,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// The inputs as the command line gives them; random where it does not.
pub(crate) fn inputs_of(
    graph: &Graph,
    given: &[String],
    sizes: &[String],
) -> Result<Vec<(String, HostTensor)>, Failure> {
    let mut bindings = Bindings::default();
    for symbol in graph.symbols() {
        bindings.set(symbol, 1);
    }
    for size in sizes {
        let (name, n) = size
            .split_once('=')
            .ok_or_else(|| format!("--size {size}: write NAME=N"))?;
        bindings.set(
            Symbol::new(name),
            n.parse().map_err(|e| format!("--size {size}: {e}"))?,
        );
    }
    let mut sources = HashMap::new();
    for input in given {
        let (name, source) = input
            .split_once('=')
            .ok_or_else(|| format!("--input {input}: write NAME=SOURCE"))?;
        if !graph.inputs().iter().any(|(n, _)| &**n == name) {
            let names: Vec<&str> = graph.inputs().iter().map(|(n, _)| &**n).collect();
            return Err(format!(
                "the model has no input `{name}`; it has {}",
                names.join(", ")
            )
            .into());
        }
        sources.insert(name, source);
    }
    let mut inputs = vec![];
    for (i, (name, value)) in graph.inputs().iter().enumerate() {
        let fact = graph.fact(*value);
        let shape = fact.map(|f| f.bind(&bindings)).transpose()?;
        let dtype = fact.map(|f| f.dtype);
        let source = sources.get(&**name).copied().unwrap_or("random");
        let tensor =
            load(source, dtype.zip(shape), i as u64).map_err(|e| format!("input `{name}`: {e}"))?;
        inputs.push((name.to_string(), tensor));
    }
    Ok(inputs)
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
            let t = tilewright::graph::samples::between(
                &shape,
                seed,
                0.0,
                if dtype.is_float() { 1.0 } else { 2.0 },
            );
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
