//! The order in which a graph runs: stretches of device nodes between nodes that need the host.
//!
//! Nodes whose shapes cannot be known before others have run (`NonZero`, a reshape to a computed shape) end a graph's
//! schedule: the rest becomes a graph of its own, with the values it needs as inputs, that is specialised and planned
//! when these values are there.

use crate::blocks;
use crate::fact::Facts;
use crate::lower::{Place, Placing};
use crate::passes::Known;
use crate::{Error, Fact, Graph, Op, Result, Value};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tilewright_device::Caps;
use tilewright_tensor::HostTensor;

/// A stretch of nodes that run in the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Dispatches of these nodes, in one submission.
    Device(Vec<u32>),
    /// This node, on the host.
    Host(u32),
}

/// The nodes of a graph in the order they run.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// What to run.
    pub stages: Vec<Stage>,
    /// Where each node runs; none for nodes that are dead, sources or late.
    pub places: Vec<Option<Place>>,
    /// The part that has to wait for values, if any.
    pub late: Option<Arc<Late>>,
}

/// The part of a graph that can only be planned when some values are known.
#[derive(Clone, Debug)]
pub struct Late {
    /// A graph with an input for each value that the part takes from before.
    pub graph: Graph,
    /// The values of the outer graph behind these inputs, in order.
    pub takes: Vec<Value>,
    /// Which of them must be known by value, not only by shape.
    pub by_value: Vec<bool>,
    /// Nodes of the outer graph whose output shapes depend on data: computed on the host first; their outputs are taken too.
    pub compute: Vec<u32>,
    /// For each output of the outer graph: its index among the late graph's outputs, if it is late.
    pub outputs: Vec<Option<usize>>,
}

impl Schedule {
    /// Places and orders the nodes of `graph`; with no `caps`, everything runs on the host.
    pub fn new(graph: &Graph, caps: Option<&Caps>) -> Result<Schedule> {
        let (live, read) = (graph.live(), graph.read());
        let mut places = vec![None; graph.len()];
        for (i, node) in graph.nodes().iter().enumerate() {
            let known = node.outputs.iter().all(Option::is_some);
            let source = matches!(node.op, Op::Input(_) | Op::Constant(_) | Op::State(_));
            // Values followed symbolically are known when sizes are bound; nothing has to compute them.
            let followed = node.outputs.iter().flatten().all(Fact::is_symbolic);
            if live[i] && known && !source && !followed {
                places[i] = Some(match caps {
                    Some(caps) => placed(graph, i, &read, caps),
                    None => Place::host("host session"),
                });
            }
        }
        let stages = ordered(graph, &places);
        let late = Late::of(graph, &live)?.map(Arc::new);
        Ok(Schedule {
            stages,
            places,
            late,
        })
    }
}

fn placed(graph: &Graph, index: usize, read: &HashSet<Value>, caps: &Caps) -> Place {
    let node = &graph.nodes()[index];
    let inputs = graph.facts(&node.inputs);
    let outputs: Vec<Fact> = node.outputs.iter().flatten().cloned().collect();
    let cx = Placing {
        inputs: Facts::new(node.op.name(), &inputs),
        outputs: &outputs,
        caps,
    };
    let place = node.op.place(&cx);
    if place != Place::Device {
        return place;
    }
    let read = |output: usize| {
        let (node, output) = (index as u32, output as u32);
        read.contains(&Value { node, output })
    };
    blocks::gap(&node.op, &cx, read).map_or(place, Place::host)
}

/// Greedy: all host nodes that are ready, then all device nodes that are ready, and again.
fn ordered(graph: &Graph, places: &[Option<Place>]) -> Vec<Stage> {
    let pending: Vec<u32> = (0..graph.len() as u32)
        .filter(|&i| places[i as usize].is_some())
        .collect();
    let mut done = vec![false; graph.len()];
    let ready = |done: &[bool], i: u32| {
        let inputs = graph.nodes()[i as usize].inputs.iter().flatten();
        inputs
            .into_iter()
            .all(|v| done[v.node as usize] || places[v.node as usize].is_none())
    };
    let on_host = |i: u32| matches!(places[i as usize], Some(Place::Host(_)));
    let mut stages = vec![];
    let mut left = pending;
    while !left.is_empty() {
        let mut device = vec![];
        for host in [true, false] {
            left.retain(|&i| {
                if on_host(i) != host || !ready(&done, i) {
                    return true;
                }
                done[i as usize] = true;
                if host {
                    stages.push(Stage::Host(i))
                } else {
                    device.push(i)
                }
                false
            });
        }
        if !device.is_empty() {
            stages.push(Stage::Device(device));
        }
    }
    stages
}

impl Late {
    fn of(graph: &Graph, live: &[bool]) -> Result<Option<Late>> {
        let unknown = |i: usize| graph.nodes()[i].outputs.iter().any(Option::is_none);
        let is_input = |i: usize| matches!(graph.nodes()[i].op, Op::Input(_));
        let late: Vec<usize> = (0..graph.len())
            .filter(|&i| live[i] && unknown(i) && !is_input(i))
            .collect();
        let output_late = |v: &Value| graph.fact(*v).is_none();
        if late.is_empty() && !graph.outputs().iter().any(|(_, v)| output_late(v)) {
            return Ok(None);
        }
        let mut part = Part::new(graph);
        for i in late {
            part.add(i)?;
        }
        part.finish().map(Some)
    }
}

/// The late graph under construction.
struct Part<'a> {
    outer: &'a Graph,
    graph: Graph,
    map: HashMap<Value, Value>,
    takes: Vec<Value>,
    by_value: HashSet<Value>,
    compute: Vec<u32>,
}

impl<'a> Part<'a> {
    fn new(outer: &'a Graph) -> Part<'a> {
        let (graph, map, takes, by_value, compute) = Default::default();
        Part {
            outer,
            graph,
            map,
            takes,
            by_value,
            compute,
        }
    }

    /// What a frontier node waits for: values that must be constants, and whether it must be computed first.
    fn waits(&self, index: usize) -> Result<Option<(Vec<Value>, bool)>> {
        let node = &self.outer.nodes()[index];
        let mut facts = vec![];
        for v in &node.inputs {
            match v.map(|v| self.outer.fact(v)) {
                None => facts.push(None),
                Some(Some(f)) => facts.push(Some(f)),
                Some(None) => return Ok(None), // behind the frontier
            }
        }
        match node.op.infer(&facts) {
            Err(Error::NeedsValue { input, .. }) => Ok(Some((
                node.inputs
                    .get(input)
                    .copied()
                    .flatten()
                    .into_iter()
                    .collect(),
                false,
            ))),
            Err(Error::DataDependent { .. }) => Ok(Some((vec![], true))),
            Err(e) => Err(e.at(&node.name, node.op.name())),
            Ok(_) => Ok(Some((vec![], false))),
        }
    }

    fn add(&mut self, index: usize) -> Result<()> {
        let node = &self.outer.nodes()[index];
        let outputs = (0..node.outputs.len() as u32).map(|output| Value {
            node: index as u32,
            output,
        });
        if let Some((values, compute)) = self.waits(index)? {
            self.by_value.extend(values);
            if compute {
                self.compute.push(index as u32);
                return Ok(()); // its outputs are taken where they are used
            }
        }
        let inputs: Vec<Option<Value>> = node
            .inputs
            .iter()
            .map(|v| v.map(|v| self.take(v)).transpose())
            .collect::<Result<_>>()?;
        let made = self
            .graph
            .add_node(node.op.clone(), &inputs, &node.name, node.outputs.len())?;
        self.map.extend(outputs.zip(made));
        Ok(())
    }

    fn take(&mut self, v: Value) -> Result<Value> {
        if let Some(&inner) = self.map.get(&v) {
            return Ok(inner);
        }
        let inner = match &self.outer.node(v).op {
            Op::Constant(c) => self.graph.constant(c.tensor.clone()),
            op => {
                self.takes.push(v);
                // Errors name inputs of the model as it does.
                let name = match op {
                    Op::Input(input) if !input.name.starts_with('%') => input.name.to_string(),
                    _ => v.to_string(),
                };
                self.graph.input(&name, None)?
            }
        };
        self.map.insert(v, inner);
        Ok(inner)
    }

    fn finish(mut self) -> Result<Late> {
        let (mut outputs, mut count) = (vec![], 0);
        for (name, v) in self.outer.outputs() {
            if self.outer.fact(*v).is_some() {
                outputs.push(None);
                continue;
            }
            let inner = self.take(*v)?;
            self.graph.output(name, inner);
            outputs.push(Some(count));
            count += 1;
        }
        let by_value = self
            .takes
            .iter()
            .map(|v| self.by_value.contains(v))
            .collect();
        Ok(Late {
            graph: self.graph,
            takes: self.takes,
            by_value,
            compute: self.compute,
            outputs,
        })
    }
}

impl Late {
    /// The late graph with what is known now: constants where values are needed, shapes elsewhere.
    pub fn specialise(&self, taken: &[HostTensor]) -> Result<Graph> {
        let mut known = HashMap::new();
        for ((t, (_, input)), by_value) in taken.iter().zip(self.graph.inputs()).zip(&self.by_value)
        {
            let what = if *by_value {
                Known::Constant(t.clone())
            } else {
                Known::Fact(Fact::sized(t.dtype(), t.shape()))
            };
            known.insert(*input, what);
        }
        crate::passes::specialise(&self.graph, &known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Attention;
    use tilewright_tensor::DType;

    /// The scores of attention, its fourth output, are larger than everything that it reads and computes from them.
    #[test]
    fn only_outputs_that_are_read_need_a_binding() {
        let mut caps = Caps::webgpu_default();
        caps.limits.binding_bytes = 4 * 512 * 8;
        for (output, device) in [(0, true), (3, false)] {
            let mut graph = Graph::new();
            let fact = Fact::sized(DType::F32, &[1, 1, 512, 8]);
            let inputs = ["q", "k", "v"].map(|name| graph.input(name, Some(fact.clone())).unwrap());
            let op = Attention::default().into();
            let outputs = graph.add_node(op, &inputs.map(Some), "", 4).unwrap();
            graph.output("y", outputs[output]);
            let schedule = Schedule::new(&graph, Some(&caps)).unwrap();
            let place = schedule.places[outputs[output].node as usize].as_ref();
            assert_eq!(place == Some(&Place::Device), device, "{place:?}");
        }
    }
}
