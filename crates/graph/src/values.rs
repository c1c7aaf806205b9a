//! The values of a run so far: on the host for as long as it reads them, or in buffers of the caller.

use crate::compiled::Compiled;
use crate::engine::constant;
use crate::io::{DeviceTensor, Feed, Wires, fits};
use crate::plan::{Plan, PlanStage};
use crate::stage::Schedule;
use crate::{Error, Graph, Result, Value, host};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tilewright_device::{Gpu, Recorder, SubmitOptions};
use tilewright_tensor::HostTensor;

/// For how long a run of a plan needs values on the host.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// The values that the host reads.
    read: HashSet<Value>,
    /// By stage: those that it reads last; not what is read after all stages.
    over: Vec<Vec<Value>>,
}

impl Uses {
    pub(crate) fn new(graph: &Graph, schedule: &Schedule, plan: &Plan) -> Uses {
        let inputs = |node: u32| {
            graph.nodes()[node as usize]
                .inputs
                .iter()
                .flatten()
                .copied()
        };
        let mut last: HashMap<Value, usize> = HashMap::new();
        for (i, stage) in plan.stages.iter().enumerate() {
            match stage {
                PlanStage::Host(node) => last.extend(inputs(*node).map(|v| (v, i))),
                PlanStage::Device { uploads, .. } => {
                    last.extend(uploads.iter().map(|t| (t.value, i)));
                }
            }
        }
        let late = schedule.late.as_deref();
        let computed = late.iter().flat_map(|l| &l.compute);
        let commits = plan.commits.iter().filter(|c| c.slot.is_none());
        let end = (graph.outputs().iter().map(|(_, v)| *v))
            .chain(late.iter().flat_map(|l| &l.takes).copied())
            .chain(computed.flat_map(|node| inputs(*node)))
            .chain(commits.map(|c| c.value));
        last.extend(end.map(|v| (v, usize::MAX)));
        let mut over = vec![vec![]; plan.stages.len()];
        for (&v, &stage) in &last {
            if let Some(over) = over.get_mut(stage) {
                over.push(v);
            }
        }
        let read = last.into_keys().collect();
        Uses { read, over }
    }
}

/// See the module.
pub(crate) struct Values {
    graph: Arc<Graph>,
    uses: Arc<Uses>,
    pub(crate) host: HashMap<Value, HostTensor>,
    /// Bytes of those on the host that were made in this run.
    held: u64,
    /// Inputs in buffers of the caller.
    pub(crate) fed: HashMap<Value, DeviceTensor>,
    /// Where outputs go that do not go to the host, in the graph's order; taken when they are there.
    pub(crate) sinks: Vec<Option<DeviceTensor>>,
    /// Which outputs went to buffers, or will.
    pub(crate) bound: Vec<bool>,
    /// What the host reads; all, where nothing is in buffers.
    reads: Option<HashSet<Value>>,
}

impl Values {
    /// The inputs of a graph whose plan is bound.
    pub(crate) fn new(compiled: &Compiled, wires: Wires) -> Values {
        let Wires { feeds, sinks } = wires;
        let (mut host, mut fed) = (HashMap::new(), HashMap::new());
        for ((_, v), feed) in compiled.graph.inputs().iter().zip(feeds) {
            match feed {
                Feed::Host(t) => drop(host.insert(*v, t)),
                Feed::Device(t) => drop(fed.insert(*v, t)),
            }
        }
        let bound: Vec<bool> = sinks.iter().map(Option::is_some).collect();
        let some = !fed.is_empty() || bound.contains(&true);
        let reads = some.then(|| compiled.host_reads(&bound));
        let uses = compiled.bound.first().map(|b| b.uses.clone());
        Values {
            graph: compiled.graph.clone(),
            uses: uses.unwrap_or_default(),
            host,
            held: 0,
            fed,
            sinks,
            bound,
            reads,
        }
    }

    /// Bytes on the host that were made in this run.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    pub(crate) fn read_by_host(&self, v: Value) -> bool {
        self.reads.as_ref().is_none_or(|reads| reads.contains(&v))
    }

    /// A value on the host, or a constant.
    pub(crate) fn get(&self, v: Value) -> Result<HostTensor> {
        let found = constant(&self.graph, v)?.or_else(|| self.host.get(&v).cloned());
        found.ok_or_else(|| Error::Graph(format!("{v} has no value")))
    }

    /// Keeps a value, if it is read.
    pub(crate) fn insert(&mut self, v: Value, tensor: HostTensor) {
        if self.uses.read.contains(&v) {
            self.remove(v);
            self.held += self.bytes(v, &tensor);
            self.host.insert(v, tensor);
        }
    }

    fn remove(&mut self, v: Value) {
        if let Some(tensor) = self.host.remove(&v) {
            self.held -= self.bytes(v, &tensor);
        }
    }

    /// What a value adds to [`Values::held`].
    fn bytes(&self, v: Value, tensor: &HostTensor) -> u64 {
        match host::makes(self.graph.node(v)) {
            true => tensor.bytes().len() as u64,
            false => 0,
        }
    }

    /// Lets go of what nothing reads after stage `i`.
    pub(crate) fn stage_is_over(&mut self, i: usize) {
        let uses = self.uses.clone();
        for &v in uses.over.get(i).into_iter().flatten() {
            self.remove(v);
        }
    }

    /// Inputs in buffers that the host reads.
    pub(crate) async fn fetch(&mut self, gpu: &Gpu) -> Result<()> {
        for (&v, t) in &self.fed {
            if self.reads.as_ref().is_some_and(|reads| reads.contains(&v)) {
                self.host.insert(v, t.read(gpu).await?);
            }
        }
        Ok(())
    }

    /// The sinks of output values that are on the device now.
    pub(crate) fn take_sinks(&mut self, v: Value) -> Vec<DeviceTensor> {
        let outputs = self.graph.outputs().iter().zip(&mut self.sinks);
        let of = outputs.filter(|((_, output), _)| *output == v);
        of.filter_map(|(_, sink)| sink.take()).collect()
    }

    /// Puts output `i` into its sink, from the host or from the buffer that it was fed in.
    pub(crate) fn fill(&self, gpu: &Gpu, i: usize, sink: &DeviceTensor) -> Result<()> {
        let (name, v) = &self.graph.outputs()[i];
        if let Some(fed) = self.fed.get(v) {
            let (from, to) = (fed.buffer(), sink.buffer());
            let copy = Recorder::new(gpu).copy(
                from,
                fed.offset(),
                to,
                sink.offset(),
                fed.bytes(gpu.caps()),
            );
            return Ok(copy.submit(SubmitOptions::new())?);
        }
        let t = self.get(*v)?;
        fits(name, sink, t.dtype(), t.shape())?;
        sink.write(gpu, &t)
    }
}
