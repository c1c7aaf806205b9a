//! One run: copies in, replays, host steps, copies out, and then whatever had to wait for values.

use crate::cells::Cells;
use crate::compiled::{Bodies, Bound, Compiled};
use crate::control;
use crate::convert::{from_device, to_device};
use crate::limits::Meter;
use crate::lower::SlotUse;
use crate::plan::{Commit, PlanStage, Transfer};
use crate::session::{NodeTime, checked};
use crate::{Error, Graph, Model, Op, Result, Value};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tilewright_device::{Buffer, BufferUse, Profiler, Recorder, Slot, SubmitOptions};
use tilewright_tensor::HostTensor;

/// What a session keeps from run to run besides its plans.
pub(crate) struct Engine {
    pub(crate) model: Model,
    /// One for each depth of control flow: a body must leave alone what the graph around it keeps on the device.
    pub(crate) arenas: Vec<Option<Buffer>>,
    pub(crate) depth: usize,
    pub(crate) states: Cells,
    pub(crate) submit: SubmitOptions,
    /// Of the run going on.
    pub(crate) meter: Meter,
    pub(crate) profile: Option<Vec<NodeTime>>,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Runs a compiled graph on the engine's device.
pub(crate) fn run<'a>(
    engine: &'a mut Engine,
    compiled: &'a mut Compiled,
    inputs: Vec<HostTensor>,
) -> Boxed<'a, Result<Vec<HostTensor>>> {
    Box::pin(async move {
        let (inputs, bindings) = checked(&compiled.graph, inputs)?;
        let mut values: HashMap<Value, HostTensor> = compiled
            .graph
            .inputs()
            .iter()
            .map(|(_, v)| *v)
            .zip(inputs)
            .collect();
        compiled.bind(&engine.model, &bindings)?;
        engine.place(compiled).await?;
        let Compiled {
            graph,
            bound,
            bodies,
            ..
        } = &mut *compiled;
        let Some(bound) = bound.first() else {
            return Err(Error::Graph("no plan".into()));
        };
        values.extend(bound.plan.sizes.iter().cloned());
        for &(v, at) in &bound.plan.reads {
            values.insert(v, engine.states.read(at, engine.model.gpu()).await?);
        }
        for (i, stage) in bound.plan.stages.iter().enumerate() {
            engine.meter.time()?;
            match stage {
                PlanStage::Host(node) => {
                    engine.on_host(graph, bodies, *node, &mut values).await?;
                }
                PlanStage::Device {
                    uploads, downloads, ..
                } => {
                    engine
                        .stage(graph, bound, i, uploads, downloads, &mut values)
                        .await?;
                }
            }
        }
        engine.commit(bound, graph, &mut values)?;
        late(engine, compiled, values).await
    })
}

/// Computes what has to wait for the values so far, and collects the outputs.
async fn late(
    engine: &mut Engine,
    compiled: &mut Compiled,
    mut values: HashMap<Value, HostTensor>,
) -> Result<Vec<HostTensor>> {
    let mut rest = vec![];
    if let Some(late) = compiled.schedule.late.clone() {
        for &node in &late.compute {
            let Compiled { graph, bodies, .. } = &mut *compiled;
            engine.on_host(graph, bodies, node, &mut values).await?;
        }
        let taken = late
            .takes
            .iter()
            .map(|v| value(&compiled.graph, &values, *v))
            .collect::<Result<Vec<_>>>()?;
        let part = compiled.late_part(&late, &taken, &engine.model)?;
        // Inputs that became constants are no longer inputs.
        let names: Vec<Arc<str>> = part.graph.inputs().iter().map(|(n, _)| n.clone()).collect();
        let fed = (late.graph.inputs().iter().zip(taken)).filter(|((n, _), _)| names.contains(n));
        let fed = fed.map(|(_, t)| t).collect();
        rest = run(engine, part, fed).await?;
    }
    let outputs = compiled.graph.outputs();
    let index = |i: usize| compiled.schedule.late.as_ref().and_then(|l| l.outputs[i]);
    (outputs.iter().enumerate())
        .map(|(i, (_, v))| match index(i) {
            Some(at) => Ok(rest[at].clone()),
            None => value(&compiled.graph, &values, *v),
        })
        .collect()
}

fn value(graph: &Graph, values: &HashMap<Value, HostTensor>, v: Value) -> Result<HostTensor> {
    match (&graph.node(v).op, values.get(&v)) {
        (Op::Constant(c), _) => Ok(c.tensor.clone()),
        (_, Some(t)) => Ok(t.clone()),
        _ => Err(Error::Graph(format!("{v} has no value"))),
    }
}

impl Engine {
    /// A node on the host; the bodies of control flow run on the device.
    async fn on_host(
        &mut self,
        graph: &Graph,
        bodies: &mut Bodies,
        index: u32,
        values: &mut HashMap<Value, HostTensor>,
    ) -> Result<()> {
        let node = &graph.nodes()[index as usize];
        let args = (node.inputs.iter())
            .map(|v| v.map(|v| value(graph, values, v)).transpose())
            .collect::<Result<Vec<_>>>()?;
        let args: Vec<Option<&HostTensor>> = args.iter().map(Option::as_ref).collect();
        let outputs = match control::walk(&node.op, &args, self.meter.limits()) {
            Ok(Some(walk)) => self.drive(walk, bodies).await,
            Ok(None) => self.meter.reference(&node.op, &args),
            Err(e) => Err(e),
        };
        let outputs = outputs.map_err(|e| e.at(&node.name, node.op.name()))?;
        let names = (0..).map(|output| Value {
            node: index,
            output,
        });
        values.extend(names.zip(outputs));
        Ok(())
    }

    /// Runs the bodies of a walk, each in an arena of its own depth.
    async fn drive(
        &mut self,
        mut walk: Box<dyn control::Walk>,
        bodies: &mut Bodies,
    ) -> Result<Vec<HostTensor>> {
        while let Some(turn) = walk.next()? {
            self.meter.time()?;
            let body = bodies.get(&turn, &self.model)?;
            self.depth += 1;
            let outputs = run(self, body, turn.inputs).await;
            self.depth -= 1;
            walk.accept(outputs?)?;
        }
        walk.finish()
    }

    /// Makes the arena large enough and puts the newest plan's dispatches on the device.
    async fn place(&mut self, compiled: &mut Compiled) -> Result<()> {
        let Some(gpu) = self.model.gpu().cloned() else {
            return Ok(());
        };
        let Some(need) = compiled.bound.first().map(|b| b.plan.arena.max(256)) else {
            return Ok(());
        };
        let limit = self.model.options().limits.memory;
        self.arenas
            .resize(self.arenas.len().max(self.depth + 1), None);
        let others = self.arenas.iter().enumerate();
        let others = others.filter(|(depth, _)| *depth != self.depth);
        let others: u64 = others
            .map(|(_, a)| a.as_ref().map_or(0, Buffer::bytes))
            .sum();
        if need.saturating_add(others) > limit {
            return Err(Error::Limit {
                what: format!("an arena of {need} bytes"),
                limit,
            });
        }
        let own = &mut self.arenas[self.depth];
        if own.as_ref().is_none_or(|a| a.bytes() < need) {
            // Given back before the larger one is asked for, also by plans that are bound to it.
            *own = None;
            compiled.release(None);
            *own = Some(gpu.buffer(need, BufferUse::Storage)?);
        }
        let Some(arena) = own.clone() else {
            return Ok(());
        };
        compiled.release(Some(&arena));
        let Some(bound) = compiled.bound.first_mut() else {
            return Ok(());
        };
        if bound.arena.is_some() {
            return Ok(());
        }
        let mut weights = HashMap::new();
        for (slot, tensor) in bound.plan.constants() {
            weights.insert(slot, self.model.weight(&gpu, tensor)?);
        }
        let (plan, states) = (&bound.plan, &self.states);
        let place = |slot: Slot| {
            let root = plan.root(slot);
            if let SlotUse::State(at) = plan.slots[root.0 as usize] {
                return states.buffer(at).map(|b| (b.clone(), 0));
            }
            Some(match weights.get(&root) {
                Some(buffer) => (buffer.clone(), 0),
                None => (arena.clone(), plan.offsets[root.0 as usize]),
            })
        };
        bound.replays.clear();
        for stage in &plan.stages {
            bound.replays.push(match stage {
                PlanStage::Host(_) => None,
                PlanStage::Device { steps, .. } => {
                    let dispatches: Vec<_> = steps
                        .iter()
                        .flat_map(|s| s.dispatches.iter().cloned())
                        .collect();
                    Some(gpu.bind(&dispatches, place).await?)
                }
            });
        }
        bound.arena = Some(arena.clone());
        Ok(())
    }

    /// States take their next values.
    fn commit(
        &mut self,
        bound: &Bound,
        graph: &Graph,
        values: &mut HashMap<Value, HostTensor>,
    ) -> Result<()> {
        let (Some(gpu), false) = (self.model.gpu(), bound.plan.commits.is_empty()) else {
            return Ok(());
        };
        for commit in bound.plan.commits.iter().filter(|c| c.slot.is_none()) {
            let t = value(graph, values, commit.value)?;
            values.insert(commit.value, t);
        }
        let offset = |c: &Commit| Some(bound.plan.offsets[bound.plan.root(c.slot?).0 as usize]);
        let arena = |c: &Commit| Some((bound.arena.clone()?, offset(c)?));
        self.states.commit(&bound.plan.commits, arena, values, gpu)
    }

    /// One submission with its copies.
    async fn stage(
        &mut self,
        graph: &Graph,
        bound: &Bound,
        index: usize,
        uploads: &[Transfer],
        downloads: &[Transfer],
        values: &mut HashMap<Value, HostTensor>,
    ) -> Result<()> {
        let (Some(gpu), Some(arena)) = (self.model.gpu(), &bound.arena) else {
            return Ok(());
        };
        let at = |t: &Transfer| bound.plan.offsets[bound.plan.root(t.slot).0 as usize];
        for t in uploads.iter().filter(|t| !t.shape.contains(&0)) {
            let tensor = value(graph, values, t.value)?;
            gpu.write(
                arena,
                at(t),
                &to_device(&tensor, &graph.node(t.value).name)?,
            )?;
        }
        if let Some(Some(replay)) = bound.replays.get(index) {
            if let Some(times) = &mut self.profile {
                let steps: Vec<_> = stage_dispatches(&bound.plan.stages[index]).collect();
                for timing in Profiler::new(gpu)?.run(replay).await? {
                    let (node, shader) = steps[timing.step];
                    let node = &graph.nodes()[node as usize];
                    let (op, name) = (node.op.name().to_string(), node.name.to_string());
                    let shader = shader.to_string();
                    times.push(NodeTime {
                        node: name,
                        op,
                        shader,
                        nanoseconds: timing.nanoseconds,
                    });
                }
            } else {
                Recorder::new(gpu)
                    .run(replay)
                    .submit_paced(self.submit.clone())
                    .await?;
            }
        }
        let full = |t: &&Transfer| !t.shape.contains(&0);
        let bytes = |t: &Transfer| 4 * t.shape.iter().product::<usize>() as u64;
        let ranges: Vec<_> = downloads
            .iter()
            .filter(full)
            .map(|t| (arena.clone(), at(t), bytes(t)))
            .collect();
        let mut read = gpu.read_all(&ranges).await?.into_iter();
        for t in downloads {
            let data = if t.shape.contains(&0) {
                vec![]
            } else {
                read.next().unwrap_or_default()
            };
            values.insert(t.value, from_device(&data, t.dtype, &t.shape)?);
        }
        Ok(())
    }
}

fn stage_dispatches(stage: &PlanStage) -> impl Iterator<Item = (u32, &'static str)> {
    let steps = match stage {
        PlanStage::Device { steps, .. } => &steps[..],
        PlanStage::Host(_) => &[],
    };
    steps
        .iter()
        .flat_map(|s| s.dispatches.iter().map(|d| (s.node, d.variant.shader)))
}
