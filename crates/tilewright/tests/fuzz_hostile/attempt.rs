//! What is done with a damaged model: all that can be done without a GPU, for one of several kinds of adapter.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;
use std::time::Duration;
use tilewright::graph::passes::{self, Known};
use tilewright::graph::stage::Schedule;
use tilewright::graph::{Bindings, Fact, bind, coverage, lower::Derived};
use tilewright::onnx::{NoExternalData, read_model};
use tilewright::{
    Caps, DType, Graph, HostTensor, Model, ModelOptions, RunLimits, Session, block_on,
};

use crate::mutate::{float, int};

/// What a model may ask for here, in bytes, iterations, operations and time.
pub(crate) fn limits() -> RunLimits {
    let mut limits = RunLimits::default();
    limits.memory = 4 << 20;
    limits.loop_iterations = 1000;
    limits.work = 10_000_000;
    limits.wall_time = Duration::from_secs(1);
    limits
}

/// Inputs above this are not made.
const MOST_INPUT: u64 = 1 << 20;

/// Every error must say what it is; tracing shows it.
fn told(error: &dyn std::error::Error) {
    let text = error.to_string();
    if std::env::var_os("TILEWRIGHT_FUZZ_TRACE").is_some() {
        eprintln!("    {text}");
    }
    assert!(!text.is_empty());
}

/// How far a model came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    pub(crate) read: bool,
    pub(crate) planned: bool,
    pub(crate) ran: bool,
    /// Bytes of the inputs it was run with.
    pub(crate) inputs: u64,
}

/// Reads, plans and runs a model. Errors are what is hoped for; panics, hangs and hunger are seen by the caller.
pub(crate) fn attempt(file: &[u8], given: &[(String, HostTensor)], seed: u64) -> Reached {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut reached = Reached::default();
    let graph = match read_model(file.to_vec(), &NoExternalData) {
        Ok(graph) => graph,
        Err(error) => {
            told(&error);
            return reached;
        }
    };
    reached.read = true;
    let mut bindings = Bindings::default();
    for symbol in graph.symbols() {
        let size = if rng.random_bool(0.05) {
            0
        } else {
            rng.random_range(1..=4)
        };
        bindings.set(symbol, size);
    }
    let caps = &kinds()[rng.random_range(0..3)];
    let result = planned(&graph, &bindings, caps);
    reached.planned = result.is_ok();
    result.err().iter().for_each(|e| told(e));
    let covered = coverage(&graph, caps, &limits());
    covered.err().iter().for_each(|e| told(e));
    let Some(inputs) = inputs(&graph, &bindings, given, &mut rng) else {
        return reached;
    };
    reached.inputs = inputs.iter().map(|(_, t)| t.bytes().len() as u64).sum();
    // The same with values for integers, as a late part has them.
    let known = graph
        .inputs()
        .iter()
        .zip(&inputs)
        .map(|((_, v), (_, t))| match t.dtype() {
            DType::F32 => (*v, Known::Fact(Fact::sized(t.dtype(), t.shape()))),
            _ => (*v, Known::Constant(t.clone())),
        });
    let known: HashMap<_, _> = known.collect();
    if let Ok(special) = passes::specialise(&graph, &known) {
        let _ = planned(&special, &bindings, caps);
    }
    let mut options = ModelOptions::default();
    options.limits = limits();
    let named: Vec<(&str, HostTensor)> = inputs
        .iter()
        .map(|(n, t)| (n.as_str(), t.clone()))
        .collect();
    if let Ok(mut session) = Session::new(&Model::host(graph, options)) {
        let result = block_on(session.run(&named));
        reached.ran = result.is_ok();
        result.err().iter().for_each(|e| told(e));
    }
    reached
}

/// Adapters that choose other kernels: default limits; lavapipe, with subgroups of 8 and loops that it cuts; a discrete GPU.
pub(crate) fn kinds() -> [Caps; 3] {
    let mut software = Caps::software(8);
    software.f16 = true;
    [Caps::webgpu_default(), software, Caps::discrete()]
}

/// Passes, schedule and plan for an adapter.
pub(crate) fn planned(
    graph: &Graph,
    bindings: &Bindings,
    caps: &Caps,
) -> tilewright::graph::Result<()> {
    let graph = passes::device(graph, caps)?;
    let schedule = Schedule::new(&graph, Some(caps))?;
    let _ = graph.to_string();
    let plan = bind::bind(&graph, &schedule, bindings, caps, &Derived::default())?;
    let _ = plan.to_string();
    Ok(())
}

/// Inputs: those that the sound model has, where they still fit, else random ones.
fn inputs(
    graph: &Graph,
    bindings: &Bindings,
    given: &[(String, HostTensor)],
    rng: &mut StdRng,
) -> Option<Vec<(String, HostTensor)>> {
    let mut left = MOST_INPUT;
    let mut out = vec![];
    for (name, value) in graph.inputs() {
        let sound = given.iter().find(|(n, _)| **n == **name).map(|(_, t)| t);
        let fact = graph.fact(*value);
        let fits = |t: &&HostTensor| {
            fact.is_none_or(|f| {
                let size = |d: &tilewright::graph::Dim, n: &usize| {
                    d.known().is_none_or(|d| d == *n as i64)
                };
                f.dtype == t.dtype()
                    && f.rank() == t.rank()
                    && f.shape
                        .iter()
                        .zip(t.shape().iter())
                        .all(|(d, n)| size(d, n))
            })
        };
        let tensor = match sound.filter(fits) {
            Some(tensor) => tensor.clone(),
            None => {
                let (dtype, shape) = match fact {
                    Some(fact) => (fact.dtype, fact.bind(bindings).ok()?),
                    None => (
                        [DType::F32, DType::I64, DType::Bool][rng.random_range(0..3)],
                        (0..rng.random_range(0..5))
                            .map(|_| rng.random_range(0..5))
                            .collect(),
                    ),
                };
                let bytes = shape
                    .iter()
                    .try_fold(8u64, |n, &d| n.checked_mul(d as u64))?;
                left = left.checked_sub(bytes)?;
                random(dtype, &shape, rng)?
            }
        };
        out.push((
            name.to_string(),
            if rng.random_bool(0.1) {
                poisoned(&tensor, rng)?
            } else {
                tensor
            },
        ));
    }
    Some(out)
}

fn random(dtype: DType, shape: &[usize], rng: &mut StdRng) -> Option<HostTensor> {
    let n = shape.iter().product();
    if dtype.is_float() {
        let values = (0..n).map(|_| rng.random_range(-2.0..2.0)).collect();
        return HostTensor::from_f64(dtype, shape, values).ok();
    }
    let values = (0..n).map(|_| rng.random_range(0..2)).collect();
    HostTensor::from_i64(dtype, shape, values).ok()
}

/// A copy with a few hostile elements; types too narrow for them stay as they are.
fn poisoned(tensor: &HostTensor, rng: &mut StdRng) -> Option<HostTensor> {
    if tensor.is_empty() {
        return Some(tensor.clone());
    }
    let at = rng.random_range(0..tensor.len());
    if tensor.dtype().is_float() {
        let mut values = tensor.to_f64();
        values[at] = float(rng).into();
        return HostTensor::from_f64(tensor.dtype(), tensor.shape(), values).ok();
    }
    let mut values = tensor.to_i64().ok()?;
    values[at] = int(rng);
    Some(
        HostTensor::from_i64(tensor.dtype(), tensor.shape(), values)
            .unwrap_or_else(|_| tensor.clone()),
    )
}
