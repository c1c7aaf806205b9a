//! One run: copies in, replays, host steps, copies out, and then whatever had to wait for values.

use crate::cells::Cells;
use crate::compiled::{Bodies, Bound, Compiled};
use crate::control;
use crate::convert::{from_device, to_device};
use crate::io::{Wires, checked};
use crate::limits::Meter;
use crate::lower::SlotUse;
use crate::memory_stats::Share;
use crate::place::Arena;
use crate::plan::{Commit, PlanStage, Transfer};
use crate::record::Copied;
use crate::selftest::{Tester, refuse, settle};
use crate::session::{NodeTime, Profile};
use crate::values::Values;
use crate::{Bindings, Error, Graph, Model, Op, Result, SelfTest, Value};
use std::collections::HashSet;
use std::sync::Arc;
use tilewright_device::{
    BoxFuture, Buffer, Dispatch, Gpu, Profiler, Recorder, Replay, Slot, SubmitOptions, Timing,
};
use tilewright_tensor::HostTensor;
use web_time::Instant;

/// What a session keeps from run to run besides its plans.
pub(crate) struct Engine {
    pub(crate) model: Model,
    /// One for each depth of control flow: a body must leave alone what the graph around it keeps on the device.
    pub(crate) arenas: Vec<Arena>,
    pub(crate) depth: usize,
    pub(crate) states: Cells,
    pub(crate) submit: SubmitOptions,
    /// Of the run going on.
    pub(crate) meter: Meter,
    pub(crate) profile: Option<Profile>,
    /// Last: it frees what only the fields above needed.
    pub(crate) share: Share,
}

/// Runs a compiled graph on the engine's device; none for outputs that went to buffers.
pub(crate) fn run<'a>(
    engine: &'a mut Engine,
    compiled: &'a mut Compiled,
    mut wires: Wires,
) -> BoxFuture<'a, Result<Vec<Option<HostTensor>>>> {
    Box::pin(async move {
        let bindings = match bound(engine, compiled, &wires) {
            // Sizes of 0 and 1 broadcast to 0, for which sizes that follow the number of a turn have no expression.
            Err(error) => {
                let Some(plain) = compiled.plain.take() else {
                    return Err(error);
                };
                *compiled = *plain;
                bound(engine, compiled, &wires)?
            }
            Ok(bindings) => bindings,
        };
        engine.tested(compiled, &bindings).await?;
        engine.place(compiled).await?;
        engine.keep_feeds(compiled, &mut wires)?;
        let mut values = Values::new(compiled, wires);
        engine.stages(compiled, &mut values).await?;
        let outputs = late(engine, compiled, &mut values).await?;
        // Last, so that a run that fails leaves every state as it was.
        let bound = compiled.bound.iter().find(|b| b.is_for(&bindings));
        if let Some(bound) = bound {
            engine.commit(bound, &mut values)?;
        }
        Ok(outputs)
    })
}

/// The plan for these inputs comes to the front; its sizes.
fn bound(engine: &Engine, compiled: &mut Compiled, wires: &Wires) -> Result<Bindings> {
    let bindings = checked(&compiled.graph, &wires.feeds)?;
    wires.check_sinks(&compiled.graph, &bindings)?;
    compiled.bind(&engine.model, &bindings)?;
    Ok(bindings)
}

/// Runs a compiled graph from host to host.
async fn on_device(
    engine: &mut Engine,
    compiled: &mut Compiled,
    inputs: Vec<HostTensor>,
) -> Result<Vec<HostTensor>> {
    let wires = Wires::host(&compiled.graph, inputs);
    Ok(run(engine, compiled, wires)
        .await?
        .into_iter()
        .flatten()
        .collect())
}

/// Computes what has to wait for the values so far, and collects the outputs.
async fn late(
    engine: &mut Engine,
    compiled: &mut Compiled,
    values: &mut Values,
) -> Result<Vec<Option<HostTensor>>> {
    let mut rest = vec![];
    if let Some(late) = compiled.schedule.late.clone() {
        for &node in &late.compute {
            engine.meter.check()?;
            let Compiled { graph, bodies, .. } = &mut *compiled;
            engine.on_host(graph, bodies, node, values).await?;
        }
        let taken = (late.takes.iter().map(|v| values.get(*v))).collect::<Result<Vec<_>>>()?;
        let part = compiled.late_part(&late, &taken, &engine.model)?;
        // Inputs that became constants are no longer inputs.
        let names: Vec<Arc<str>> = part.graph.inputs().iter().map(|(n, _)| n.clone()).collect();
        let fed = (late.graph.inputs().iter().zip(taken)).filter(|((n, _), _)| names.contains(n));
        let mut wires = Wires::host(&part.graph, fed.map(|(_, t)| t));
        for (sink, at) in values.sinks.iter_mut().zip(&late.outputs) {
            if let Some(at) = at {
                wires.sinks[*at] = sink.take();
            }
        }
        let outer = engine.hold(values.held());
        let outputs = run(engine, part, wires).await;
        engine.meter = outer;
        rest = outputs?;
    }
    let late = |i: usize| compiled.schedule.late.as_ref().and_then(|l| l.outputs[i]);
    let mut outputs = vec![];
    for (i, (_, v)) in compiled.graph.outputs().iter().enumerate() {
        if let (Some(sink), Some(gpu)) = (&values.sinks[i], engine.model.gpu()) {
            values.fill(gpu, i, sink)?;
        }
        outputs.push(match late(i) {
            Some(at) => rest[at].take(),
            None if values.bound[i] => None,
            None => Some(values.get(*v)?),
        });
    }
    Ok(outputs)
}

/// The tensor of a constant. What the host reads in every run is in its memory, see [`Compiled::of`].
pub(crate) fn constant(graph: &Graph, v: Value) -> Result<Option<HostTensor>> {
    match &graph.node(v).op {
        Op::Constant(c) => c.tensor.load().map(Some),
        _ => Ok(None),
    }
}

impl Engine {
    /// Tests the newest plan, where the options say so; it may be another one then.
    pub(crate) async fn tested(&self, compiled: &mut Compiled, bindings: &Bindings) -> Result<()> {
        // What is on the device was tested before it got there.
        let placed = compiled.bound.first().and_then(|b| b.placed.get());
        if self.model.options().self_test == SelfTest::Off || placed.is_some() {
            return Ok(());
        }
        let mut tester = Tester::knowing(self.model.right());
        let report = settle(&mut tester, &self.model, compiled, bindings).await;
        self.model.know(tester.into_right());
        refuse(&report?)
    }

    /// Everything that does not have to wait.
    async fn stages(&mut self, compiled: &mut Compiled, values: &mut Values) -> Result<()> {
        let Compiled {
            graph,
            bound,
            bodies,
            ..
        } = compiled;
        let Some(bound) = bound.first() else {
            return Err(Error::Graph("no plan".into()));
        };
        for (v, sizes) in &bound.plan.sizes {
            values.insert(*v, sizes.clone());
        }
        if let Some(gpu) = self.model.gpu() {
            values.fetch(gpu).await?;
        }
        for &(v, at) in &bound.plan.reads {
            values.insert(v, self.states.read(at, self.model.gpu()).await?);
        }
        for (i, stage) in bound.plan.stages.iter().enumerate() {
            self.meter.check()?;
            match stage {
                PlanStage::Host(node) => {
                    self.on_host(graph, bodies, *node, values).await?;
                }
                PlanStage::Device {
                    uploads, downloads, ..
                } => {
                    self.write(graph, bound, uploads, values)?;
                    self.dispatch(graph, bound, i, (uploads, downloads), values)
                        .await?;
                }
            }
            values.stage_is_over(i);
        }
        Ok(())
    }

    /// A node on the host; the bodies of control flow run on the device.
    async fn on_host(
        &mut self,
        graph: &Graph,
        bodies: &mut Bodies,
        index: u32,
        values: &mut Values,
    ) -> Result<()> {
        let node = &graph.nodes()[index as usize];
        let args = (node.inputs.iter())
            .map(|v| v.map(|v| values.get(v)).transpose())
            .collect::<Result<Vec<_>>>()?;
        let args: Vec<Option<&HostTensor>> = args.iter().map(Option::as_ref).collect();
        let outer = self.hold(values.held());
        let outputs = match control::walk(&node.op, &args, self.meter.limits()) {
            Ok(Some(walk)) => self.drive(walk, bodies).await,
            Ok(None) => {
                let start = Instant::now();
                let outputs = self.meter.reference(&node.op, &args);
                if let Some(profile) = &mut self.profile {
                    profile.on_host(node, start.elapsed());
                }
                outputs
            }
            Err(e) => Err(e),
        };
        self.meter = outer;
        let outputs = outputs.map_err(|e| e.at(&node.name, node.op.name()))?;
        for (output, tensor) in (0..).zip(outputs) {
            let node = index;
            values.insert(Value { node, output }, tensor);
        }
        Ok(())
    }

    /// Counts `bytes` more as held from now on; the meter to return to.
    fn hold(&mut self, bytes: u64) -> Meter {
        let more = self.meter.holding(bytes);
        std::mem::replace(&mut self.meter, more)
    }

    /// Copies inputs that the run would overwrite with outputs before it has read them.
    fn keep_feeds(&self, compiled: &Compiled, wires: &mut Wires) -> Result<()> {
        let (Some(gpu), true) = (self.model.gpu(), compiled.reads_feeds_late()) else {
            return Ok(());
        };
        let copies = wires.keep_feeds(&compiled.graph, gpu)?;
        if !copies.is_empty() {
            let recorder = copies.iter().fold(Recorder::new(gpu), |r, c| c.onto(r));
            recorder.submit(SubmitOptions::new())?;
        }
        Ok(())
    }

    /// Runs the bodies of a walk, each in an arena of its own depth.
    async fn drive(
        &mut self,
        mut walk: Box<dyn control::Walk>,
        bodies: &mut Bodies,
    ) -> Result<Vec<HostTensor>> {
        while let Some(turn) = walk.next()? {
            self.meter.check()?;
            let body = bodies.get(&turn, walk.counter(), &self.model)?;
            self.depth += 1;
            let outputs = on_device(self, body, turn.inputs).await;
            self.depth -= 1;
            walk.accept(outputs?)?;
        }
        walk.finish()
    }

    /// States take their next values.
    fn commit(&mut self, bound: &Bound, values: &mut Values) -> Result<()> {
        let (Some(gpu), false) = (self.model.gpu(), bound.plan.commits.is_empty()) else {
            return Ok(());
        };
        for commit in bound.plan.commits.iter().filter(|c| c.slot.is_none()) {
            values.insert(commit.value, values.get(commit.value)?);
        }
        let source = |c: &Commit| bound.source(c);
        (self.states).commit(&bound.plan.commits, source, &values.host, gpu)
    }

    /// The buffer of a slot and where it begins there: in the arena, or in the buffer of a state or a constant.
    pub(crate) fn home(&self, gpu: &Gpu, bound: &Bound, slot: Slot) -> Result<(Buffer, u64)> {
        let root = bound.plan.root(slot);
        let missing = || Error::Graph("a plan without an arena".into());
        Ok(match &bound.plan.slots[root.0 as usize] {
            SlotUse::State(at) => (self.states.buffer(*at).ok_or_else(missing)?.clone(), 0),
            SlotUse::Constant(t) => (self.model.weight(gpu, t)?, 0),
            _ => {
                let placed = bound.placed.get().ok_or_else(missing)?;
                (placed.arena.clone(), bound.place_of(slot))
            }
        })
    }

    /// Writes what the host has and the device reads.
    fn write(
        &self,
        graph: &Graph,
        bound: &Bound,
        uploads: &[Transfer],
        values: &Values,
    ) -> Result<()> {
        let (Some(gpu), Some(placed)) = (self.model.gpu(), bound.placed.get()) else {
            return Ok(());
        };
        let held = |t: &&Transfer| !t.is_empty() && !values.fed.contains_key(&t.value);
        for t in uploads.iter().filter(held) {
            let tensor = values.get(t.value)?;
            let data = to_device(&tensor, &graph.node(t.value).name, gpu.caps())?;
            gpu.write(&placed.arena, bound.place_of(t.slot), &data)?;
        }
        Ok(())
    }

    /// One submission: the dispatches of a stage between copies from and to the caller's buffers and to the host.
    async fn dispatch(
        &mut self,
        graph: &Graph,
        bound: &Bound,
        index: usize,
        (uploads, downloads): (&[Transfer], &[Transfer]),
        values: &mut Values,
    ) -> Result<()> {
        let Some(gpu) = self.model.gpu() else {
            return Ok(());
        };
        let placed = bound.placed.get();
        let mut before = vec![];
        for t in uploads.iter().filter(|t| !t.is_empty()) {
            if let (Some(fed), Some(placed)) = (values.fed.get(&t.value), &placed) {
                let from = (fed.buffer().clone(), fed.offset());
                let to = (placed.arena.clone(), bound.place_of(t.slot));
                let bytes = t.bytes;
                before.push(Copied { from, to, bytes });
            }
        }
        let (mut after, mut sunk) = (vec![], HashSet::new());
        for t in downloads {
            for sink in values.take_sinks(t.value) {
                let to = (sink.buffer().clone(), sink.offset());
                let (from, bytes) = (self.home(gpu, bound, t.slot)?, t.bytes);
                after.push(Copied { from, to, bytes });
                sunk.insert(t.value);
            }
        }
        let copies = |r, copies| <[Copied]>::iter(copies).fold(r, |r, c: &Copied| c.onto(r));
        let mut recorder = copies(Recorder::new(gpu), &before);
        let replay = placed.as_ref().and_then(|p| p.replays.get(index)?.as_ref());
        if let Some(replay) = replay {
            if let Some(profile) = &mut self.profile {
                let submitted = recorder.submit(self.meter.until(&self.submit));
                submitted.map_err(|e| self.meter.ended(e))?;
                let (stage, options) = (&bound.plan.stages[index], self.meter.until(&self.submit));
                let begin = profile.now();
                let timed = profiled(gpu, graph, stage, replay, &options, begin).await;
                profile
                    .times
                    .extend(timed.map_err(|e| self.meter.ended(e))?);
                recorder = Recorder::new(gpu);
            } else {
                recorder = recorder.run(replay);
            }
        }
        let recorder = copies(recorder, &after);
        let wanted: Vec<&Transfer> = (downloads.iter())
            .filter(|t| !sunk.contains(&t.value) || values.read_by_host(t.value))
            .collect();
        let ranges = self.ranges(gpu, bound, &wanted)?;
        let options = self.meter.until(&self.submit);
        let read = recorder.submit_reading(options, &ranges).await;
        let read = read.map_err(|e| self.meter.ended(e))?;
        received(gpu, &wanted, read, values)
    }

    /// Where the values that the host reads lie, without the empty ones.
    fn ranges(
        &self,
        gpu: &Gpu,
        bound: &Bound,
        wanted: &[&Transfer],
    ) -> Result<Vec<(Buffer, u64, u64)>> {
        let range = |t: &&Transfer| {
            let (buffer, at) = self.home(gpu, bound, t.slot)?;
            Ok((buffer, at, t.bytes))
        };
        let full = wanted.iter().filter(|t| !t.is_empty());
        full.map(range).collect()
    }
}

/// Takes in what was read of values; of the empty ones nothing was.
fn received(
    gpu: &Gpu,
    wanted: &[&Transfer],
    read: Vec<Vec<u8>>,
    values: &mut Values,
) -> Result<()> {
    let mut read = read.into_iter();
    for t in wanted {
        let data = match t.is_empty() {
            true => vec![],
            false => read.next().unwrap_or_default(),
        };
        let tensor = from_device(&data, t.dtype, &t.shape, gpu.caps())?;
        values.insert(t.value, tensor);
    }
    Ok(())
}

/// Runs a stage's dispatches one by one, with their times; `begin` is now.
async fn profiled(
    gpu: &Gpu,
    graph: &Graph,
    stage: &PlanStage,
    replay: &Replay,
    options: &SubmitOptions,
    begin: u64,
) -> std::result::Result<Vec<NodeTime>, tilewright_device::Error> {
    let steps: Vec<_> = stage_dispatches(stage).collect();
    let timings = Profiler::new(gpu)?.run(replay, options).await?;
    let time = |timing: &Timing| {
        let (node, dispatch) = steps[timing.label as usize];
        let node = &graph.nodes()[node as usize];
        NodeTime::on_device(node, dispatch, *timing, begin)
    };
    Ok(timings.iter().map(time).collect())
}

fn stage_dispatches(stage: &PlanStage) -> impl Iterator<Item = (u32, &Dispatch)> {
    let steps = match stage {
        PlanStage::Device { steps, .. } => &steps[..],
        PlanStage::Host(_) => &[],
    };
    (steps.iter()).flat_map(|s| s.dispatches.iter().map(|d| (s.node, d)))
}
