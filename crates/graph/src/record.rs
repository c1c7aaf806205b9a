//! A run as commands in a caller's encoder: nothing is submitted, and nothing goes to the host and back.

use crate::compiled::{Bound, Compiled};
use crate::convert::to_device;
use crate::engine::{Engine, constant};
use crate::io::{Feed, Wires, checked};
use crate::place::OnDevice;
use crate::plan::{PlanStage, Transfer};
use crate::{Error, Graph, Result, Value};
use std::collections::HashMap;
use tilewright_device::{Buffer, BufferUse, Gpu, Recorder, Replay, SubmitOptions};
use tilewright_tensor::HostTensor;

/// Records one run of `compiled` with `recorder`.
pub(crate) async fn record(
    engine: &mut Engine,
    compiled: &mut Compiled,
    mut wires: Wires,
    recorder: Recorder<'_>,
) -> Result<()> {
    let gpu = engine.model.gpu().cloned();
    let gpu = gpu.ok_or_else(|| Error::Graph("a model on the host cannot be recorded".into()))?;
    let bindings = checked(&compiled.graph, &wires.feeds)?;
    wires.check_sinks(&compiled.graph, &bindings)?;
    if let Some(node) = late_node(compiled) {
        return Err(refuse(
            &compiled.graph,
            node,
            "its shapes depend on values of the run",
        ));
    }
    compiled.bind(&engine.model, &bindings)?;
    engine.tested(compiled, &bindings).await?;
    engine.place(compiled).await?;
    let (graph, bound) = (&compiled.graph, compiled.bound.first());
    let placed = bound.and_then(|b| b.placed.get());
    let (Some(bound), Some(placed)) = (bound, &placed) else {
        return Err(Error::Graph("no plan".into()));
    };
    let mut tape = Tape::new(engine, &gpu, graph, bound, placed);
    if compiled.reads_feeds_late() {
        let copies = wires.keep_feeds(&compiled.graph, &gpu)?;
        tape.entries.extend(copies.into_iter().map(Entry::Copy));
    }
    tape.lay(wires)?;
    tape.onto(recorder)
}

/// A node that waits for values, if there is one.
fn late_node(compiled: &Compiled) -> Option<u32> {
    compiled.schedule.late.as_ref()?;
    let live = compiled.graph.live();
    let waits = |i: &usize| {
        live[*i]
            && compiled.graph.nodes()[*i]
                .outputs
                .iter()
                .any(Option::is_none)
    };
    (0..compiled.graph.len()).find(waits).map(|i| i as u32)
}

fn refuse(graph: &Graph, node: u32, reason: &str) -> Error {
    let node = &graph.nodes()[node as usize];
    Error::NotRecordable {
        node: node.name.to_string(),
        op: node.op.name().into(),
        reason: reason.into(),
    }
}

/// A copy between two buffers, in bytes.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) from: (Buffer, u64),
    pub(crate) to: (Buffer, u64),
    pub(crate) bytes: u64,
}

impl Copied {
    /// Adds it to what is recorded.
    pub(crate) fn onto<'a>(&'a self, recorder: Recorder<'a>) -> Recorder<'a> {
        let (from, to) = (&self.from, &self.to);
        recorder.copy(&from.0, from.1, &to.0, to.1, self.bytes)
    }
}

enum Entry<'a> {
    Copy(Copied),
    Run(&'a Replay),
}

/// The commands of a run, in order.
struct Tape<'a> {
    engine: &'a Engine,
    gpu: &'a Gpu,
    graph: &'a Graph,
    bound: &'a Bound,
    placed: &'a OnDevice,
    host: HashMap<Value, HostTensor>,
    fed: HashMap<Value, (Buffer, u64)>,
    /// Where values that somebody may want lie, once they are there.
    made: HashMap<Value, (Buffer, u64)>,
    entries: Vec<Entry<'a>>,
}

impl<'a> Tape<'a> {
    fn new(
        engine: &'a Engine,
        gpu: &'a Gpu,
        graph: &'a Graph,
        bound: &'a Bound,
        placed: &'a OnDevice,
    ) -> Tape<'a> {
        let host = bound.plan.sizes.iter().cloned().collect();
        let (fed, made, entries) = Default::default();
        Tape {
            engine,
            gpu,
            graph,
            bound,
            placed,
            host,
            fed,
            made,
            entries,
        }
    }

    fn lay(&mut self, wires: Wires) -> Result<()> {
        for ((_, v), feed) in self.graph.inputs().iter().zip(wires.feeds) {
            match feed {
                Feed::Host(t) => drop(self.host.insert(*v, t)),
                Feed::Device(t) => drop(self.fed.insert(*v, (t.buffer().clone(), t.offset()))),
            }
        }
        let bound = self.bound;
        for (stage, replay) in bound.plan.stages.iter().zip(&self.placed.replays) {
            match stage {
                PlanStage::Host(node) => {
                    return Err(refuse(self.graph, *node, "it runs on the host"));
                }
                PlanStage::Device {
                    uploads, downloads, ..
                } => {
                    for t in uploads.iter().filter(|t| !t.is_empty()) {
                        let from = self.source(t.value, t.bytes)?;
                        let to = (self.placed.arena.clone(), self.place(t));
                        self.copy(from, to, t.bytes);
                    }
                    self.entries.extend(replay.iter().map(Entry::Run));
                    for t in downloads {
                        let home = self.engine.home(self.gpu, bound, t.slot)?;
                        self.made.insert(t.value, home);
                    }
                }
            }
        }
        let caps = self.gpu.caps();
        for ((_, v), sink) in self.graph.outputs().iter().zip(wires.sinks) {
            if let Some(sink) = sink.filter(|t| t.bytes(caps) > 0) {
                let from = self.source(*v, sink.bytes(caps))?;
                let to = (sink.buffer().clone(), sink.offset());
                self.copy(from, to, sink.bytes(caps));
            }
        }
        self.commits()
    }

    fn commits(&mut self) -> Result<()> {
        let (bound, states) = (self.bound, &self.engine.states);
        if let Some(commit) = bound.plan.commits.iter().find(|c| c.slot.is_none()) {
            let why = "a state takes its value, which is not computed on the device";
            return Err(refuse(self.graph, commit.value.node, why));
        }
        let copies = states.copies(&bound.plan.commits, |c| bound.source(c));
        self.entries.extend(copies.into_iter().map(Entry::Copy));
        Ok(())
    }

    fn place(&self, t: &Transfer) -> u64 {
        self.bound.place_of(t.slot)
    }

    fn copy(&mut self, from: (Buffer, u64), to: (Buffer, u64), bytes: u64) {
        self.entries.push(Entry::Copy(Copied { from, to, bytes }));
    }

    /// A buffer with a value that is there by now. What the host has is put into a buffer of its own, so that the commands
    /// mean the same whenever they are submitted.
    fn source(&self, v: Value, bytes: u64) -> Result<(Buffer, u64)> {
        if let Some(made) = self.made.get(&v) {
            return Ok(made.clone());
        }
        if let Some(fed) = self.fed.get(&v) {
            return Ok(fed.clone());
        }
        let state = self.graph.states().iter().position(|s| s.read == v);
        if let Some(buffer) = state.and_then(|at| self.engine.states.buffer(at)) {
            return Ok((buffer.clone(), 0));
        }
        let held = match constant(self.graph, v)? {
            Some(t) => Some(t),
            None => self.host.get(&v).cloned(),
        };
        let held = held.ok_or_else(|| refuse(self.graph, v.node, "its value is on the host"))?;
        let buffer = self.gpu.buffer(bytes, BufferUse::Storage)?;
        let data = to_device(&held, &self.graph.node(v).name, self.gpu.caps())?;
        self.gpu.write(&buffer, 0, &data)?;
        Ok((buffer, 0))
    }

    fn onto<'r>(&'r self, recorder: Recorder<'r>) -> Result<()> {
        let add = |r: Recorder<'r>, entry: &'r Entry<'_>| match entry {
            Entry::Copy(copy) => copy.onto(r),
            Entry::Run(replay) => r.run(replay),
        };
        let recorder = self.entries.iter().fold(recorder, add);
        Ok(recorder.submit(SubmitOptions::new())?)
    }
}
