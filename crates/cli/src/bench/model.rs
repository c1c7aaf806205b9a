//! `tilewright bench model`: the latency of whole runs, inputs from and outputs to the host.

use super::data::{self, points};
use super::driver::{Options, Plan};
use super::ours::Memory;
use super::work::{ModelWork, Work};
use crate::Failure;
use crate::device::read_graph;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::time::Instant;
use tilewright::graph::{Bindings, host};
use tilewright::onnx::ReadOptions;
use tilewright::{
    DType, Gpu, Graph, HostTensor, Model, ModelOptions, RunLimits, Session, block_on,
};
use tilewright_benches::{Sample, clocked, repeats};

/// Arguments of `bench model`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright bench model resnet18.onnx --input x=1,3,224,224 --slowest 10 --html report.html\n\n\
    The first result counts from the model's file: reading, passes, planning, packing, upload, compilation, run (the adapter is\n\
    open by then, and the driver's own cache of compiled shaders may be warm). The result is compared with the host's, which\n\
    adds up in f64 and takes long for large models: see --no-check. Floats of inputs are in -1..1, integers 0 to 99."
)]
pub(super) struct Args {
    /// The model.
    model: PathBuf,
    /// The shape of an input, as name=1,3,224,224; those that the model states may be left out.
    #[arg(long = "input", value_name = "NAME=SIZES")]
    inputs: Vec<String>,
    /// Report so many of the slowest nodes, by one more run with timestamps.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    slowest: usize,
    /// Do not compute the model on the host to compare with.
    #[arg(long)]
    no_check: bool,
    #[command(flatten)]
    options: Options,
}

/// One case.
pub(super) fn main(args: &Args) -> Result<(), Failure> {
    let path = std::path::absolute(&args.model)?;
    let graph = read_graph(&path, &ReadOptions::new())?;
    let inputs = shapes(&graph, &args.inputs)?;
    let half = graph
        .nodes()
        .iter()
        .flat_map(|n| n.outputs.iter().flatten())
        .any(|f| f.dtype == DType::F16);
    let plan = Plan {
        works: vec![Work::Model(ModelWork { path, inputs, half })],
        slowest: args.slowest,
        check: !args.no_check,
        ..Plan::default()
    };
    plan.run("model", &args.options.gpu()?, &args.options)
}

/// The shape of every input of the graph, given or stated.
fn shapes(graph: &Graph, given: &[String]) -> Result<Vec<(String, Vec<usize>)>, Failure> {
    let mut told = vec![];
    for text in given {
        let (name, sizes) = text
            .rsplit_once('=')
            .ok_or_else(|| format!("--input {text}: write NAME=1,3,224,224"))?;
        let sizes: Result<Vec<usize>, _> = sizes
            .split(',')
            .filter(|s| !s.is_empty())
            .map(|s| s.trim().parse())
            .collect();
        told.push((
            name,
            sizes.map_err(|e| format!("--input {text}: {e}; write NAME=1,3,224,224"))?,
        ));
    }
    let names: Vec<&str> = graph.inputs().iter().map(|(n, _)| &**n).collect();
    if let Some((name, _)) = told.iter().find(|(n, _)| !names.contains(n)) {
        return Err(format!(
            "the model has no input `{name}`; it has {}",
            names.join(", ")
        )
        .into());
    }
    let mut shapes = vec![];
    for (name, value) in graph.inputs() {
        let told = told
            .iter()
            .find(|(n, _)| *n == &**name)
            .map(|(_, s)| s.clone());
        let stated = || graph.fact(*value)?.bind(&Bindings::default()).ok();
        let shape = told
            .or_else(stated)
            .ok_or_else(|| match graph.fact(*value) {
                Some(fact) => {
                    let sizes = fact
                        .shape
                        .iter()
                        .map(|d| d.known().unwrap_or(1).to_string());
                    let sizes = sizes.collect::<Vec<_>>().join(",");
                    format!(
                        "input `{name}` ({fact}) has no fixed shape: add --input {name}={sizes}"
                    )
                }
                None => format!("input `{name}` has no shape: add --input {name}=1,3,224,224"),
            })?;
        shapes.push((name.to_string(), shape));
    }
    Ok(shapes)
}

/// A model on the device that has given its first result.
pub(super) struct ModelRun {
    session: Session,
    inputs: Vec<(String, HostTensor)>,
    repeats: usize,
    pub(super) first: f64,
    pub(super) nmse: Option<f64>,
    pub(super) at: Vec<usize>,
    /// Our own values, for peers.
    pub(super) expected: Vec<f64>,
    pub(super) memory: Memory,
    pub(super) host_steps: Vec<String>,
}

impl ModelRun {
    /// Reads, runs, and compares with the host where `check` says so.
    pub(super) fn new(gpu: &Gpu, work: &ModelWork, check: bool) -> Result<Self, Failure> {
        let start = Instant::now();
        let graph = read_graph(&work.path, &ReadOptions::new())?;
        let read = start.elapsed();
        let inputs = made(&graph, work)?;
        let exact = match check {
            true => Some(host::run(
                &graph,
                &inputs.iter().map(|(_, t)| t.clone()).collect::<Vec<_>>(),
            )?),
            false => None,
        };
        let mut options = ModelOptions::default();
        options.limits = RunLimits::none();
        let start = Instant::now();
        let mut session = Session::new(&Model::new(graph, gpu, options))?;
        let outputs = block_on(session.run(&named(&inputs)))?;
        let first = (read + start.elapsed()).as_secs_f64();
        let result = outputs.first().ok_or("the model has no output")?.1.to_f64();
        let at = points(result.len());
        let nmse = match &exact {
            Some(exact) => Some(worst(&outputs, exact)?),
            None => None,
        };
        let stats = session.memory_stats();
        let named = named(&inputs);
        let repeats = repeats(|repeats| {
            let mut runs =
                || (0..repeats).try_for_each(|_| block_on(session.run(&named)).map(drop));
            Ok::<_, Failure>(clocked(gpu, repeats, &mut runs)?.wall)
        })?;
        Ok(Self {
            expected: at.iter().map(|&i| result[i]).collect(),
            host_steps: session
                .host_steps()
                .iter()
                .map(|s| format!("host {} ({})", s.op, s.reason))
                .collect(),
            memory: Memory {
                arena: stats.arenas,
                scratch: 0,
                weights: stats.weights,
            },
            repeats,
            session,
            inputs,
            first,
            nmse,
            at,
        })
    }

    /// One sample.
    pub(super) fn time(&mut self, gpu: &Gpu) -> Result<Sample, Failure> {
        let Self {
            session, inputs, ..
        } = self;
        let inputs = named(inputs);
        let mut run = || block_on(session.run(&inputs)).map(drop);
        Ok(clocked(gpu, self.repeats, || {
            (0..self.repeats).try_for_each(|_| run())
        })?)
    }

    /// The slowest nodes, slowest first.
    pub(super) fn slowest(&mut self, count: usize) -> Result<Vec<Json>, Failure> {
        if count == 0 {
            return Ok(vec![]);
        }
        let mut times = block_on(self.session.profile(&named(&self.inputs)))?;
        times.sort_by_key(|t| std::cmp::Reverse(t.nanoseconds));
        times.truncate(count);
        let node = |t: &tilewright::NodeTime| json!({"node": t.node, "op": t.op, "shader": t.shader, "ns": t.nanoseconds});
        Ok(times.iter().map(node).collect())
    }
}

/// The data of every input.
fn made(graph: &Graph, work: &ModelWork) -> Result<Vec<(String, HostTensor)>, Failure> {
    let mut inputs = vec![];
    for (t, (name, shape)) in work.inputs.iter().enumerate() {
        let value = graph
            .inputs()
            .iter()
            .find(|(n, _)| **n == **name)
            .map(|(_, v)| *v);
        let dtype = value.and_then(|v| graph.dtype(v)).unwrap_or(DType::F32);
        let made = data::tensor(dtype, t, shape, |i| i);
        inputs.push((
            name.clone(),
            made.map_err(|e| format!("input `{name}`: {e}"))?,
        ));
    }
    Ok(inputs)
}

fn named(inputs: &[(String, HostTensor)]) -> Vec<(&str, HostTensor)> {
    inputs
        .iter()
        .map(|(n, t)| (n.as_str(), t.clone()))
        .collect()
}

/// The largest NMSE of all outputs, whole.
fn worst(
    outputs: &[(std::sync::Arc<str>, HostTensor)],
    exact: &[HostTensor],
) -> Result<f64, Failure> {
    let mut worst = 0f64;
    for ((name, got), exact) in outputs.iter().zip(exact) {
        if got.shape() != exact.shape() {
            return Err(format!("output `{name}` is {got}, on the host {exact}").into());
        }
        worst = worst.max(data::nmse(&got.to_f64(), &exact.to_f64()));
    }
    Ok(worst)
}
