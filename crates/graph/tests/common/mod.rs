//! One operator as a model of its own, on a device against its reference.
#![allow(
    dead_code,
    reason = "each test binary uses its own part of this module, and `expect` fails in one that uses all"
)]

pub(crate) mod hosted;

use tilewright_device::{Error as DeviceError, Gpu, GpuOptions};
use tilewright_graph::{
    Attrs, Case, Error, Fact, Graph, HostStep, Model, ModelOptions, Op, Session, Value,
};
use tilewright_tensor::{HostTensor, nmse};

/// The adapter; none only where `TILEWRIGHT_SKIP_GPU=1` says that none is expected.
pub(crate) fn gpu(options: GpuOptions) -> Option<Gpu> {
    let skip = std::env::var_os("TILEWRIGHT_SKIP_GPU").is_some_and(|value| value == "1");
    match pollster::block_on(Gpu::new(options)) {
        Ok(gpu) => Some(gpu),
        Err(DeviceError::NoAdapter { .. }) if skip => None,
        Err(e) => panic!("{e}; set TILEWRIGHT_SKIP_GPU=1 where no adapter is expected"),
    }
}

/// The adapter as it is.
pub(crate) fn any_gpu() -> Option<Gpu> {
    gpu(GpuOptions::new())
}

/// An operator without attributes.
pub(crate) fn op(name: &str) -> Op {
    Op::from_name(name, &Attrs::new(name)).unwrap()
}

/// A node of one output.
pub(crate) fn add(g: &mut Graph, name: &str, attrs: Attrs, inputs: &[Value]) -> Value {
    let op = Op::from_name(name, &attrs).unwrap();
    let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
    g.add_node(op, &inputs, name, 1).unwrap()[0]
}

/// The operator of a case between inputs and `outputs` outputs.
pub(crate) fn graph_of(case: &Case, outputs: usize) -> Result<Graph, Error> {
    let mut graph = Graph::new();
    let mut inputs = vec![];
    for (i, t) in case.inputs.iter().enumerate() {
        inputs.push(match t {
            None => None,
            Some(t) if case.constant.contains(&i) => Some(graph.constant(t.clone())),
            Some(t) => {
                Some(graph.input(&format!("x{i}"), Some(Fact::sized(t.dtype(), t.shape())))?)
            }
        });
    }
    let values = graph.add_node(case.op.clone(), &inputs, "node", outputs)?;
    for (i, v) in values.iter().enumerate() {
        graph.output(&format!("y{i}"), *v);
    }
    Ok(graph)
}

/// What a run of [`graph_of`] is given.
pub(crate) fn fed(case: &Case) -> Vec<(String, HostTensor)> {
    (case.inputs.iter().enumerate())
        .filter(|(i, _)| !case.constant.contains(i))
        .filter_map(|(i, t)| Some((format!("x{i}"), t.clone()?)))
        .collect()
}

/// Runs one case; true if a device was used for all of it.
pub(crate) fn check(case: &Case, gpu: &Gpu) -> Result<bool, String> {
    Ok(check_steps(case, gpu)?.is_empty())
}

/// Runs one case; what of it ran on the host.
pub(crate) fn check_steps(case: &Case, gpu: &Gpu) -> Result<Vec<HostStep>, String> {
    let text = |e: Error| e.to_string();
    let args: Vec<Option<&HostTensor>> = case.inputs.iter().map(Option::as_ref).collect();
    let expected = case.op.reference(&args).map_err(text)?;
    let graph = graph_of(case, expected.len()).map_err(text)?;
    let model = Model::new(graph, gpu, ModelOptions::default());
    let mut session = Session::new(&model).map_err(text)?;
    let fed = fed(case);
    let fed: Vec<_> = fed.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    // Twice: the second run replays.
    pollster::block_on(session.run(&fed)).map_err(text)?;
    let outputs = pollster::block_on(session.run(&fed)).map_err(text)?;
    if outputs.len() != expected.len() {
        let (got, want) = (outputs.len(), expected.len());
        return Err(format!("{got} outputs, expected {want}"));
    }
    for ((name, got), want) in outputs.iter().zip(&expected) {
        if got.shape() != want.shape() || got.dtype() != want.dtype() {
            return Err(format!(
                "{name}: {}{:?}, expected {}{:?}",
                got.dtype(),
                got.shape(),
                want.dtype(),
                want.shape()
            ));
        }
        if want.dtype().is_float() {
            let error = nmse(got, want).map_err(|e| format!("{name}: {e}"))?;
            // f16 results are rounded once more.
            let bound = if want.dtype().bits() == 16 {
                case.nmse.max(1e-6)
            } else {
                case.nmse
            };
            if error.is_nan() || error > bound {
                return Err(format!(
                    "{name}: nmse {error:e} over {bound:e}\n got {got}\nwant {want}"
                ));
            }
        } else if got != want {
            return Err(format!("{name}: integers differ\n got {got}\nwant {want}"));
        }
    }
    Ok(session.host_steps())
}
