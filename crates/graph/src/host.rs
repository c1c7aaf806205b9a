//! The host executor: a graph run by the references of its operators. Always there, slow, and the oracle of the tests.

use crate::limits::Meter;
use crate::{Error, Graph, Node, Op, Result, RunLimits, Value, control};
use std::collections::HashMap;
use tilewright_tensor::HostTensor;

/// The outputs of `graph` for `inputs` (in the order of [`Graph::inputs`]), computed on the host.
/// Loops end at the default [`RunLimits`].
pub fn run(graph: &Graph, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
    run_within(graph, inputs, &RunLimits::default())
}

/// [`run`] with limits on what the model may ask for.
pub fn run_within(
    graph: &Graph,
    inputs: &[HostTensor],
    limits: &RunLimits,
) -> Result<Vec<HostTensor>> {
    let mut states: Vec<HostTensor> = graph.states().iter().map(|s| s.initial.clone()).collect();
    step(graph, inputs, &mut states, limits)
}

/// [`run_within`] from these states (in the order of [`Graph::states`]), which take their next values.
pub fn step(
    graph: &Graph,
    inputs: &[HostTensor],
    states: &mut [HostTensor],
    limits: &RunLimits,
) -> Result<Vec<HostTensor>> {
    metered(graph, inputs, states, &Meter::new(*limits))
}

/// The outputs of one node, as far as the meter lets it.
pub(crate) fn evaluate(
    op: &Op,
    args: &[Option<&HostTensor>],
    meter: &Meter,
) -> Result<Vec<HostTensor>> {
    meter.time()?;
    match control::walk(op, args, meter.limits())? {
        Some(walk) => control::drive(walk, meter),
        None => meter.reference(op, args),
    }
}

/// [`step`] within a run that has begun.
pub(crate) fn metered(
    graph: &Graph,
    inputs: &[HostTensor],
    states: &mut [HostTensor],
    meter: &Meter,
) -> Result<Vec<HostTensor>> {
    if inputs.len() != graph.inputs().len() {
        let what = format!(
            "{} inputs given, {} expected",
            inputs.len(),
            graph.inputs().len()
        );
        return Err(Error::Graph(what));
    }
    let mut values: HashMap<Value, HostTensor> = HashMap::new();
    for ((_, v), t) in graph.inputs().iter().zip(inputs) {
        values.insert(*v, t.clone());
    }
    for (state, t) in graph.states().iter().zip(states.iter()) {
        values.insert(state.read, t.clone());
    }
    let (live, mut uses) = (graph.live(), uses(graph));
    // Bytes of values that nodes made.
    let mut held = 0;
    for (i, node) in graph.nodes().iter().enumerate() {
        if !live[i] || matches!(node.op, Op::Input(_) | Op::State(_)) {
            continue;
        }
        let outputs = {
            let args: Vec<Option<&HostTensor>> = (node.inputs.iter())
                .map(|v| {
                    v.map(|v| {
                        values
                            .get(&v)
                            .ok_or_else(|| Error::Graph(format!("{v} has no value")))
                    })
                    .transpose()
                })
                .collect::<Result<_>>()?;
            evaluate(&node.op, &args, &meter.holding(held))
                .map_err(|e| e.at(&node.name, node.op.name()))?
        };
        for v in node.inputs.iter().flatten() {
            if let Some(t) = release(&mut values, &mut uses, *v)
                && makes(graph.node(*v))
            {
                held -= t.bytes().len() as u64;
            }
        }
        for (output, t) in outputs.into_iter().enumerate() {
            let v = Value {
                node: i as u32,
                output: output as u32,
            };
            if uses.contains_key(&v) {
                if makes(node) {
                    held += t.bytes().len() as u64;
                }
                values.insert(v, t);
            }
        }
    }
    for (state, t) in graph.states().iter().zip(states.iter_mut()) {
        if let Some(next) = state.next.and_then(|v| values.get(&v)) {
            *t = next.clone();
        }
    }
    let find = |(name, v): &(_, Value)| {
        values
            .get(v)
            .cloned()
            .ok_or_else(|| Error::Graph(format!("output `{name}` was not computed")))
    };
    graph.outputs().iter().map(find).collect()
}

/// How often each value is still read; outputs of the graph are never released.
fn uses(graph: &Graph) -> HashMap<Value, usize> {
    let mut uses = HashMap::new();
    let live = graph.live();
    for (_, node) in graph.nodes().iter().enumerate().filter(|(i, _)| live[*i]) {
        for v in node.inputs.iter().flatten() {
            *uses.entry(*v).or_insert(0) += 1;
        }
    }
    let states = graph
        .states()
        .iter()
        .flat_map(|s| [Some(s.read), s.next])
        .flatten();
    for v in states {
        *uses.entry(v).or_insert(0) += 1;
    }
    for (_, v) in graph.outputs() {
        *uses.entry(*v).or_insert(0) += 1;
    }
    uses
}

/// The value, if this was its last use.
fn release(
    values: &mut HashMap<Value, HostTensor>,
    uses: &mut HashMap<Value, usize>,
    v: Value,
) -> Option<HostTensor> {
    let n = uses.get_mut(&v)?;
    *n -= 1;
    if *n == 0 { values.remove(&v) } else { None }
}

/// False for nodes whose outputs are there anyhow.
fn makes(node: &Node) -> bool {
    !matches!(node.op, Op::Input(_) | Op::State(_) | Op::Constant(_))
}
