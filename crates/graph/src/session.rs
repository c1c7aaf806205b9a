//! Running a model: sizes are bound once and their plans replayed; the arena is the session's own.

use crate::cells::Cells;
use crate::compiled::{Bound, Compiled};
use crate::convert::{from_device, to_device};
use crate::lower::{Place, SlotUse};
use crate::model::Fallback;
use crate::plan::{Commit, PlanStage, Transfer};
use crate::{Bindings, Error, Graph, Model, Op, Result, Value, host};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tilewright_device::{Buffer, BufferUse, Profiler, Recorder, Slot, SubmitOptions};
use tilewright_tensor::HostTensor;

/// One user of a model. It owns the memory of activations; runs are one at a time.
pub struct Session {
    engine: Engine,
    root: Compiled,
}

/// A node of a plan that runs on the host, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostStep {
    /// Node name in the model.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Why it is not on the device.
    pub reason: String,
}

/// Time of one node on the device.
#[derive(Clone, Debug)]
pub struct NodeTime {
    /// Node name in the model.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Shader of the dispatch.
    pub shader: String,
    /// Nanoseconds.
    pub nanoseconds: u64,
}

/// What a session keeps from run to run besides its plans.
pub(crate) struct Engine {
    model: Model,
    arena: Option<Buffer>,
    states: Cells,
    submit: SubmitOptions,
    profile: Option<Vec<NodeTime>>,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

impl Session {
    /// A session of `model`: passes run, nodes are placed. Plans are made at the first run of each set of sizes.
    pub fn new(model: &Model) -> Result<Session> {
        let root = Compiled::new(model.graph(), model)?;
        let engine = Engine {
            model: model.clone(),
            arena: None,
            states: Cells::new(&root.graph, model.gpu())?,
            submit: SubmitOptions::new(),
            profile: None,
        };
        Ok(Session { engine, root })
    }

    /// How work is submitted from now on: budget and cancel token.
    pub fn set_submit_options(&mut self, options: SubmitOptions) {
        self.engine.submit = options;
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.engine.model
    }

    /// The graph after passes.
    pub fn graph(&self) -> &Graph {
        &self.root.graph
    }

    /// Nodes that run on the host although the session has a device (late parts are listed once they were planned).
    pub fn host_steps(&self) -> Vec<HostStep> {
        if self.engine.model.gpu().is_none() {
            vec![]
        } else {
            self.root.host_steps()
        }
    }

    /// The plans in use, most recent first, with the sizes they are for; late parts after the first.
    pub fn plans(&self) -> Vec<&crate::plan::Plan> {
        self.root.plans()
    }

    /// Runs the model on named inputs; the outputs in the model's order.
    pub async fn run(
        &mut self,
        inputs: &[(&str, HostTensor)],
    ) -> Result<Vec<(Arc<str>, HostTensor)>> {
        let ordered = order(self.engine.model.graph(), inputs)?;
        let outputs = match self.engine.model.gpu() {
            None => {
                let graph = &self.root.graph;
                let limits = self.engine.model.options().limits;
                let mut states = self.engine.states.host();
                let inputs = checked(graph, ordered)?.0;
                let outputs = host::step(graph, &inputs, &mut states, &limits)?;
                for (i, t) in states.iter().enumerate() {
                    self.engine.states.write(i, t, None)?;
                }
                outputs
            }
            Some(_) => run(&mut self.engine, &mut self.root, ordered).await?,
        };
        let names = self
            .model()
            .graph()
            .outputs()
            .iter()
            .map(|(n, _)| n.clone());
        Ok(names.zip(outputs).collect())
    }

    /// The value of a state.
    pub async fn state(&self, name: &str) -> Result<HostTensor> {
        let at = self.state_index(name)?;
        self.engine.states.read(at, self.engine.model.gpu()).await
    }

    /// Gives a state a value; of the same type and shape.
    pub fn set_state(&mut self, name: &str, value: &HostTensor) -> Result<()> {
        let at = self.state_index(name)?;
        self.engine.states.write(at, value, self.engine.model.gpu())
    }

    fn state_index(&self, name: &str) -> Result<usize> {
        let at = self
            .root
            .graph
            .states()
            .iter()
            .position(|s| &*s.name == name);
        at.ok_or_else(|| Error::Graph(format!("the model has no state `{name}`")))
    }

    /// Runs the model once with a timestamp around every dispatch.
    pub async fn profile(&mut self, inputs: &[(&str, HostTensor)]) -> Result<Vec<NodeTime>> {
        self.engine.profile = Some(vec![]);
        let result = self.run(inputs).await;
        let times = self.engine.profile.take().unwrap_or_default();
        result.map(|_| times)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.engine.model)
            .finish_non_exhaustive()
    }
}

/// Inputs in the graph's order.
fn order(graph: &Graph, inputs: &[(&str, HostTensor)]) -> Result<Vec<HostTensor>> {
    let error = |name: &str, what: &str| Error::Input {
        name: name.into(),
        what: what.into(),
    };
    for (i, (name, _)) in inputs.iter().enumerate() {
        if !graph.inputs().iter().any(|(n, _)| &**n == *name) {
            return Err(error(name, "the model has no such input"));
        }
        if inputs[..i].iter().any(|(n, _)| n == name) {
            return Err(error(name, "is given twice"));
        }
    }
    let find = |name: &Arc<str>| {
        inputs
            .iter()
            .find(|(n, _)| *n == &**name)
            .map(|(_, t)| t.clone())
    };
    graph
        .inputs()
        .iter()
        .map(|(name, _)| find(name).ok_or_else(|| error(name, "is missing")))
        .collect()
}

/// The inputs and the sizes that they bind; an error where they contradict the graph.
pub(crate) fn checked(
    graph: &Graph,
    inputs: Vec<HostTensor>,
) -> Result<(Vec<HostTensor>, Bindings)> {
    let mut bindings = Bindings::default();
    for ((name, v), t) in graph.inputs().iter().zip(&inputs) {
        let Some(fact) = graph.fact(*v) else { continue };
        let error = |what: String| Error::Input {
            name: name.to_string(),
            what,
        };
        if fact.dtype != t.dtype() {
            return Err(error(format!("must be {}, got {}", fact.dtype, t.dtype())));
        }
        if fact.rank() != t.rank() {
            return Err(error(format!(
                "must be {fact}, got a shape of {:?}",
                t.shape()
            )));
        }
        for (d, &n) in fact.shape.iter().zip(t.shape().iter()) {
            let n = n as i64;
            if let Some(symbol) = d.as_symbol()
                && let Some(before) = bindings.set(symbol.clone(), n)
                && before != n
            {
                return Err(error(format!(
                    "size {d} is {n} here and {before} elsewhere"
                )));
            }
        }
    }
    for ((name, v), t) in graph.inputs().iter().zip(&inputs) {
        let Some(fact) = graph.fact(*v) else { continue };
        if fact.bind(&bindings)? != t.shape()[..] {
            let what = format!("must be {fact}, got a shape of {:?}", t.shape());
            return Err(Error::Input {
                name: name.to_string(),
                what,
            });
        }
    }
    Ok((inputs, bindings))
}

/// Runs a compiled graph on the engine's device.
fn run<'a>(
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
        let Compiled { graph, bound, .. } = &*compiled;
        let Some(bound) = bound.first() else {
            return Err(Error::Graph("no plan".into()));
        };
        for &(v, at) in &bound.plan.reads {
            values.insert(v, engine.states.read(at, engine.model.gpu()).await?);
        }
        for (i, stage) in bound.plan.stages.iter().enumerate() {
            match stage {
                PlanStage::Host(node) => on_host(graph, *node, &mut values)?,
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
            on_host(&compiled.graph, node, &mut values)?;
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

fn on_host(graph: &Graph, index: u32, values: &mut HashMap<Value, HostTensor>) -> Result<()> {
    let node = &graph.nodes()[index as usize];
    let args = (node.inputs.iter())
        .map(|v| v.map(|v| value(graph, values, v)).transpose())
        .collect::<Result<Vec<_>>>()?;
    let args: Vec<Option<&HostTensor>> = args.iter().map(Option::as_ref).collect();
    let outputs = node
        .op
        .reference(&args)
        .map_err(|e| e.at(&node.name, node.op.name()))?;
    for (output, t) in outputs.into_iter().enumerate() {
        values.insert(
            Value {
                node: index,
                output: output as u32,
            },
            t,
        );
    }
    Ok(())
}

impl Engine {
    /// Makes the arena large enough and puts the newest plan's dispatches on the device.
    async fn place(&mut self, compiled: &mut Compiled) -> Result<()> {
        let Some(gpu) = self.model.gpu().cloned() else {
            return Ok(());
        };
        let Some(bound) = compiled.bound.first_mut() else {
            return Ok(());
        };
        let limit = self.model.options().limits.memory;
        let need = bound.plan.arena.max(256);
        if need > limit {
            return Err(Error::Limit {
                what: format!("an arena of {need} bytes"),
                limit,
            });
        }
        if self.arena.as_ref().is_none_or(|a| a.bytes() < need) {
            self.arena = None; // given back before the larger one is asked for
            self.arena = Some(gpu.buffer(need, BufferUse::Storage)?);
        }
        let Some(arena) = self.arena.clone() else {
            return Ok(());
        };
        if bound.arena.as_ref() == Some(&arena) {
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

/// An error for the first node that would run on the host, if that is forbidden.
pub(crate) fn deny(graph: &Graph, places: &[Option<Place>], model: &Model) -> Result<()> {
    if model.options().fallback == Fallback::Allow || model.gpu().is_none() {
        return Ok(());
    }
    for (node, place) in graph.nodes().iter().zip(places) {
        if let Some(Place::Host(reason)) = place {
            let (node, op) = (node.name.to_string(), node.op.name().to_string());
            return Err(Error::HostDenied {
                node,
                op,
                reason: reason.to_string(),
            });
        }
    }
    Ok(())
}
