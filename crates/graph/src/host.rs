//! The host executor: a graph run by the references of its operators. Always there, slow, and the oracle of the tests.

use crate::limits::Meter;
use crate::{Error, Graph, Node, Op, Result, RunLimits, Value, control};
use std::collections::HashMap;
use std::time::Duration;
use tilewright_tensor::HostTensor;
use web_time::Instant;

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
    meter.check()?;
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
    watched(graph, inputs, states, meter, |_, _| {})
}

/// [`metered`]; `seen` is told every node of `graph` that was computed, constants apart, and how long that took.
pub(crate) fn watched(
    graph: &Graph,
    inputs: &[HostTensor],
    states: &mut [HostTensor],
    meter: &Meter,
    mut seen: impl FnMut(&Node, Duration),
) -> Result<Vec<HostTensor>> {
    if inputs.len() != graph.inputs().len() {
        let what = format!(
            "{} inputs given, {} expected",
            inputs.len(),
            graph.inputs().len()
        );
        return Err(Error::Graph(what));
    }
    let given = (graph.inputs().iter().map(|(_, v)| *v)).zip(inputs);
    let before = (graph.states().iter().map(|s| s.read)).zip(states.iter());
    let mut values = Values {
        graph,
        known: given.chain(before).map(|(v, t)| (v, t.clone())).collect(),
        uses: uses(graph),
        held: 0,
    };
    let live = graph.live();
    for (i, node) in graph.nodes().iter().enumerate() {
        if !live[i] || matches!(node.op, Op::Input(_) | Op::State(_)) {
            continue;
        }
        let outputs = {
            let args = values.of(node)?;
            let start = Instant::now();
            let outputs = evaluate(&node.op, &args, &meter.holding(values.held))
                .map_err(|e| e.at(&node.name, node.op.name()))?;
            if makes(node) {
                seen(node, start.elapsed());
            }
            outputs
        };
        values.release(node);
        values.add(i as u32, outputs);
    }
    for (state, t) in graph.states().iter().zip(states.iter_mut()) {
        if let Some(next) = state.next.and_then(|v| values.known.get(&v)) {
            *t = next.clone();
        }
    }
    let find = |(name, v): &(_, Value)| {
        let found = values.known.get(v).cloned();
        found.ok_or_else(|| Error::Graph(format!("output `{name}` was not computed")))
    };
    graph.outputs().iter().map(find).collect()
}

/// The values of a run that are still read.
struct Values<'a> {
    graph: &'a Graph,
    known: HashMap<Value, HostTensor>,
    /// See [`uses`].
    uses: HashMap<Value, usize>,
    /// Bytes of those that nodes made.
    held: u64,
}

impl Values<'_> {
    /// The inputs of a node.
    fn of(&self, node: &Node) -> Result<Vec<Option<&HostTensor>>> {
        let value = |v: &Value| {
            let found = self.known.get(v);
            found.ok_or_else(|| Error::Graph(format!("{v} has no value")))
        };
        let inputs = node.inputs.iter();
        inputs.map(|v| v.as_ref().map(value).transpose()).collect()
    }

    /// Lets go of what `node` was the last to read.
    fn release(&mut self, node: &Node) {
        for v in node.inputs.iter().flatten() {
            let Some(left) = self.uses.get_mut(v) else {
                continue;
            };
            *left -= 1;
            if *left > 0 {
                continue;
            }
            if let Some(t) = self.known.remove(v)
                && makes(self.graph.node(*v))
            {
                self.held -= t.bytes().len() as u64;
            }
        }
    }

    /// Keeps what a node made, as far as it is read.
    fn add(&mut self, node: u32, outputs: Vec<HostTensor>) {
        for (output, t) in (0..).zip(outputs) {
            let v = Value { node, output };
            if !self.uses.contains_key(&v) {
                continue;
            }
            if makes(self.graph.node(v)) {
                self.held += t.bytes().len() as u64;
            }
            self.known.insert(v, t);
        }
    }
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

/// False for nodes whose outputs are there anyhow.
pub(crate) fn makes(node: &Node) -> bool {
    !matches!(node.op, Op::Input(_) | Op::State(_) | Op::Constant(_))
}
