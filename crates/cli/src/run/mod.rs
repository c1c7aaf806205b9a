//! `tilewright run`: one model, named inputs, outputs printed or written.

mod inputs;
mod picture;
mod report;
mod sizes;
mod trace;

use crate::Failure;
use crate::device::{DeviceArgs, model_with, read_graph};
use indicatif::{ProgressBar, ProgressStyle};
pub(crate) use inputs::InputArgs;
use report::Report;
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tilewright::kernels::{Choices, Tuning};
use tilewright::onnx::save_tensor;
use tilewright::tensor::npy;
use tilewright::{Gpu, Graph, HostTensor, Model, NodeTime, SelfTest, Session, block_on};
use trace::Trace;

/// Arguments of `run`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright run resnet.onnx --input x=cat.png --labels names.txt --repeat 20\n\
    Inputs not given are random."
)]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    inputs: InputArgs,
    /// Write every output into this folder as .npy (.pb for types that NumPy does not have).
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Run this many times and report the median.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// How many of the largest scores of each row to show.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Names of the classes, one a line, for the table of scores.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Take the loops of this file, made by `tilewright tune` with this adapter and driver; it is left aside with a note where
    /// it is for others.
    #[arg(long, value_name = "FILE")]
    tuning: Option<PathBuf>,
    /// Test the kernels of the model's plan before they are used, and use no loop that is wrong.
    #[arg(long)]
    self_test: bool,
    /// Print the time of every dispatch, and of every node on the host, of one more run.
    #[arg(long)]
    profile: bool,
    /// Write what happened when, with the dispatches of one more run, as a trace for https://ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

fn write_trace(path: &Path, text: &str) -> Result<(), Failure> {
    let written = write_whole(path, text.as_bytes());
    Ok(written.map_err(|e| format!("{}: {e}", path.display()))?)
}

/// Inputs as a session takes them.
fn named(inputs: &[(String, HostTensor)]) -> Vec<(&str, HostTensor)> {
    (inputs.iter().map(|(n, t)| (n.as_str(), t.clone()))).collect()
}

/// Loads, runs, reports.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let labels = args.labels.as_deref().map(labels).transpose()?;
    let mut trace = Trace::new("load the model");
    let bar = spinner("loading the model");
    let graph = read_graph(&args.model, &args.inputs.options())?;
    trace.phase("load the inputs");
    let inputs = (args.inputs).load(&graph, args.device.options().limits.memory)?;
    let load = trace.phase("open the adapter");
    bar.set_message("opening the adapter");
    let gpu = args.device.gpu()?;
    let opened = trace.phase("passes");
    bar.set_message("planning");
    let model = chosen(args, graph, gpu.as_ref(), &bar)?;
    let mut session = Session::new(&model)?;
    let named = named(&inputs);
    trace.phase("plan, upload weights, compile");
    compile(&mut session, &named, &bar)?;
    bar.set_style(ProgressStyle::default_spinner().template("{spinner} first run")?);
    trace.phase("first run");
    let outputs = block_on(session.run(&named))?;
    let first = trace.end();
    let times = repeats(&mut session, &named, args.repeat, &bar, &mut trace)?;
    let timed = gpu.as_ref().is_none_or(|gpu| gpu.caps().timestamps);
    let profiled = trace.elapsed();
    let wanted = args.profile || args.trace.is_some();
    let nodes = match wanted && timed {
        true => profile(&mut session, &named, &mut trace)?,
        false => vec![],
    };
    bar.finish_and_clear();
    for wrong in session.quarantined() {
        eprintln!("wrong: {wrong}");
    }
    trace.phase("write the outputs");
    let files = args.output.as_deref().map(|to| write_outputs(to, &outputs));
    let files = files.transpose()?.unwrap_or_default();
    trace.end();
    let adapter = (gpu.as_ref()).map_or("host".to_owned(), |g| g.info().name.clone());
    if let Some(path) = &args.trace {
        write_trace(path, &trace.json(&adapter, profiled, &nodes).to_string())?;
    }
    let report = Report {
        adapter,
        load,
        open: opened - load,
        first,
        times,
        host_steps: session.host_steps(),
        outputs,
        files,
        profile: if args.profile { nodes } else { vec![] },
        untimed: wanted && !timed,
        labels: labels.unwrap_or_default(),
        top: args.top,
    };
    match args.json {
        true => crate::say(&serde_json::to_string_pretty(&report.json())?),
        false => crate::say(report.to_string().trim_end()),
    }
}

/// One more run, whose nodes are timed.
fn profile(
    session: &mut Session,
    inputs: &[(&str, HostTensor)],
    trace: &mut Trace,
) -> Result<Vec<NodeTime>, Failure> {
    trace.phase("profiled run and read-back");
    let nodes = block_on(session.profile(inputs))?;
    trace.end();
    Ok(nodes)
}

fn spinner(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Plans, and makes the programs of the plan; the bar counts them.
fn compile(
    session: &mut Session,
    inputs: &[(&str, HostTensor)],
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let shapes: Vec<(&str, &[usize])> = inputs.iter().map(|(n, t)| (*n, &t.shape()[..])).collect();
    let style = ProgressStyle::with_template("compiling {bar:40} {pos}/{len} {eta}")?;
    let told = |made: usize, of: usize| {
        bar.set_style(style.clone());
        bar.set_length(of as u64);
        bar.set_position(made as u64);
    };
    Ok(block_on(session.prepare_with(&shapes, told))?)
}

/// The model with what the arguments say of its kernels.
fn chosen(
    args: &Args,
    graph: Graph,
    gpu: Option<&Gpu>,
    bar: &ProgressBar,
) -> Result<Model, Failure> {
    let mut options = args.device.options();
    if args.self_test {
        options.self_test = SelfTest::Quick;
    }
    let choices = match (&args.tuning, gpu) {
        (Some(path), Some(gpu)) => tuned(path, gpu, bar)?,
        _ => Choices::new(),
    };
    Ok(model_with(graph, gpu, options, choices))
}

/// The choices of a file; none of a file for another adapter or driver.
fn tuned(path: &Path, gpu: &Gpu, bar: &ProgressBar) -> Result<Choices, Failure> {
    let tuning = Tuning::load(path)?;
    let choices = tuning.choices(&gpu.info().key, &gpu.info().driver);
    Ok(choices.unwrap_or_else(|e| {
        bar.suspend(|| eprintln!("{} is not used: {e}", path.display()));
        Choices::new()
    }))
}

fn labels(path: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(text.lines().map(|l| l.trim().to_owned()).collect())
}

fn repeats(
    session: &mut Session,
    inputs: &[(&str, HostTensor)],
    repeat: u64,
    bar: &ProgressBar,
    trace: &mut Trace,
) -> Result<Vec<Duration>, Failure> {
    if repeat < 2 {
        return Ok(vec![]);
    }
    let style = "running {bar:40} {pos}/{len} {eta}";
    bar.set_style(ProgressStyle::with_template(style)?);
    bar.set_length(repeat);
    bar.set_position(0);
    let mut times = vec![];
    for i in 0..repeat {
        let start = trace.phase(format!("run {i}"));
        block_on(session.run(inputs))?;
        times.push(trace.end() - start);
        bar.inc(1);
    }
    Ok(times)
}

/// The files, in the order of the outputs.
fn write_outputs(
    folder: &Path,
    outputs: &[(std::sync::Arc<str>, HostTensor)],
) -> Result<Vec<PathBuf>, Failure> {
    let failed = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    if folder.exists() && !folder.is_dir() {
        return Err(format!("{}: not a folder", folder.display()).into());
    }
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    let (mut files, mut taken) = (vec![], HashSet::new());
    for (i, (name, tensor)) in outputs.iter().enumerate() {
        let plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
        let mut stem: String = (name.chars())
            .map(|c| if plain(c) { c } else { '_' })
            .collect();
        // Neither hidden nor a way out of the folder.
        if stem.is_empty() || stem.starts_with('.') {
            stem = format!("_{}", stem.trim_start_matches('.'));
        }
        // Names that differ only in what files cannot carry.
        if !taken.insert(stem.clone()) {
            stem = format!("{stem}.{i}");
            taken.insert(stem.clone());
        }
        let (extension, bytes) = match npy::write(tensor) {
            Ok(bytes) => ("npy", bytes),
            Err(_) => ("pb", save_tensor(name, tensor)),
        };
        let path = folder.join(format!("{stem}.{extension}"));
        write_whole(&path, &bytes).map_err(|e| failed(&path, e))?;
        files.push(path);
    }
    Ok(files)
}

/// Writes beside the file and renames, so that nobody ever sees half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut file = std::fs::File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)
}
