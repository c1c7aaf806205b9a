//! Running a model: sizes are bound once and their plans replayed; the arena is the session's own.

use crate::cells::Cells;
use crate::compiled::Compiled;
use crate::engine::{Engine, run};
use crate::io::{IoBinding, Wires, checked, shaped};
use crate::limits::Meter;
use crate::lower::Place;
use crate::memory_stats::{MemoryStats, Share};
use crate::model::Fallback;
use crate::record::record;
use crate::selftest::{Report, Tester, Wrong, settle};
use crate::stage::Schedule;
use crate::{Bindings, Error, Fact, Graph, Model, Node, Op, Result, host};
use std::sync::Arc;
use std::time::Duration;
use tilewright_device::{CoopState, Dispatch, Recorder, SubmitOptions, Timing};
use tilewright_kernels::coop_probe;
use tilewright_tensor::{DType, HostTensor};
use web_time::Instant;

/// One user of a model. It owns the memory of activations; runs are one at a time.
pub struct Session {
    // Before the engine, which frees what plans held.
    root: Compiled,
    engine: Engine,
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

/// Time of one node: of one dispatch on the device, or of its reference on the host.
#[derive(Clone, Debug)]
pub struct NodeTime {
    /// Node name in the model.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Shader of the dispatch; `host` for a reference.
    pub shader: String,
    /// Nanoseconds from the start of the profiled run. On the device it is the host's time when the stage was submitted and
    /// the device's from there on.
    pub begin: u64,
    /// Nanoseconds.
    pub nanoseconds: u64,
    /// What was dispatched; none for a reference.
    pub dispatch: Option<Dispatched>,
}

/// A dispatch that was timed.
#[derive(Clone, Debug)]
pub struct Dispatched {
    /// The whole variant, of which [`NodeTime::shader`] is the first word.
    pub variant: String,
    /// Workgroups.
    pub groups: [u32; 3],
    /// Estimated floating-point operations or bytes moved, whichever is larger.
    pub work: u64,
    /// Bytes of all operands.
    pub bytes: u64,
}

/// The times of a run that is profiled.
pub(crate) struct Profile {
    pub(crate) started: Instant,
    pub(crate) times: Vec<NodeTime>,
}

impl NodeTime {
    /// Of a dispatch of a stage that was submitted at `begin`.
    pub(crate) fn on_device(
        node: &Node,
        dispatch: &Dispatch,
        timing: Timing,
        begin: u64,
    ) -> NodeTime {
        let spans = dispatch.spans.iter().map(|(_, span)| span.bytes);
        NodeTime {
            node: node.name.to_string(),
            op: node.op.name().to_string(),
            shader: dispatch.variant.shader.into(),
            begin: begin.saturating_add(timing.begin),
            nanoseconds: timing.nanoseconds,
            dispatch: Some(Dispatched {
                variant: dispatch.variant.to_string(),
                groups: dispatch.groups,
                work: dispatch.work,
                bytes: spans.sum(),
            }),
        }
    }
}

impl Profile {
    fn new() -> Profile {
        Profile {
            started: Instant::now(),
            times: vec![],
        }
    }

    /// Nanoseconds from the start.
    pub(crate) fn now(&self) -> u64 {
        nanoseconds(self.started.elapsed())
    }

    /// A node that was computed by its reference, and has ended now.
    pub(crate) fn on_host(&mut self, node: &Node, time: Duration) {
        let time = nanoseconds(time);
        self.times.push(NodeTime {
            node: node.name.to_string(),
            op: node.op.name().to_string(),
            shader: "host".into(),
            begin: self.now().saturating_sub(time),
            nanoseconds: time,
            dispatch: None,
        });
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Session {
    /// A session of `model`: passes run, nodes are placed. Plans are made at the first run of each set of sizes.
    pub fn new(model: &Model) -> Result<Session> {
        let root = model.root()?;
        let share = Share::new(model, &root.graph)?;
        let engine = Engine {
            model: model.clone(),
            arenas: vec![],
            depth: 0,
            states: Cells::new(&root.graph, model.gpu())?,
            submit: SubmitOptions::new(),
            meter: Meter::new(model.options().limits),
            profile: None,
            share,
        };
        Ok(Session { engine, root })
    }

    /// How work is submitted from now on: budget and cancel token. The token also ends work on the host, between nodes and
    /// turns of loops.
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

    /// What the session holds on its device, and the weights that it shares with others.
    pub fn memory_stats(&self) -> MemoryStats {
        self.engine.share.stats()
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

    /// Makes the plan for inputs of these shapes, and its programs, so that the first run does not have to. Parts whose
    /// shapes depend on values are planned when those are known.
    ///
    /// # Errors
    /// [`Error::Input`] for a name or shape that does not fit the model; whatever planning can end with.
    pub async fn prepare(&mut self, shapes: &[(&str, &[usize])]) -> Result<()> {
        self.prepare_with(shapes, |_, _| {}).await
    }

    /// [`Session::prepare`], telling after each batch how many of the plan's missing programs are made, and of how many.
    /// Nothing is told where none is missing.
    ///
    /// # Errors
    /// As [`Session::prepare`].
    pub async fn prepare_with(
        &mut self,
        shapes: &[(&str, &[usize])],
        progress: impl FnMut(usize, usize),
    ) -> Result<()> {
        let bindings = self.planned(shapes).await?;
        self.engine.tested(&mut self.root, &bindings).await?;
        self.engine.place_with(&mut self.root, progress).await
    }

    /// Tests the variants of the plan for inputs of these shapes, whatever [`crate::SelfTest`] says, and plans without the loops
    /// that are wrong. Parts whose shapes depend on values are not tested.
    ///
    /// # Errors
    /// Those of [`Session::prepare`], and where every loop for a product is wrong. Wrong variants that have no other form are in
    /// the report.
    pub async fn self_test(
        &mut self,
        shapes: &[(&str, &[usize])],
        tester: &mut Tester,
    ) -> Result<Report> {
        let bindings = self.planned(shapes).await?;
        let model = self.engine.model.clone();
        settle(tester, &model, &mut self.root, &bindings).await
    }

    /// The plan for inputs of these shapes comes to the front; its sizes.
    pub(crate) async fn planned(&mut self, shapes: &[(&str, &[usize])]) -> Result<Bindings> {
        self.begin().await?;
        let bindings = shaped(&self.root.graph, shapes)?;
        self.root.bind(&self.engine.model, &bindings)?;
        Ok(bindings)
    }

    /// The model, and the graph after passes.
    pub(crate) fn parts(&self) -> (&Model, &Compiled) {
        (&self.engine.model, &self.root)
    }

    /// What self-tests found wrong on the device: see [`Model::quarantined`].
    pub fn quarantined(&self) -> Vec<Wrong> {
        self.engine.model.quarantined()
    }

    /// Runs the model on named inputs; the outputs in the model's order.
    pub async fn run(
        &mut self,
        inputs: &[(&str, HostTensor)],
    ) -> Result<Vec<(Arc<str>, HostTensor)>> {
        let io = IoBinding::new();
        let io = inputs.iter().fold(io, |io, (n, t)| io.input(n, t.clone()));
        self.run_with(io).await
    }

    /// Runs the model with inputs from, and outputs to, buffers of the caller; the other outputs in the model's order.
    ///
    /// # Errors
    /// [`Error::Input`] and [`Error::Output`] for a name, type or shape that does not fit the model, and for a buffer that is
    /// too small; whatever a run can end with.
    pub async fn run_with(&mut self, io: IoBinding) -> Result<Vec<(Arc<str>, HostTensor)>> {
        self.begin().await?;
        self.run_once(io).await
    }

    /// Clears what a run that was dropped in the middle may have left, and proves what plans of this model want to use.
    async fn begin(&mut self) -> Result<()> {
        let meter = Meter::new(self.engine.model.options().limits);
        self.engine.meter = meter.cancelled_by(self.engine.submit.cancel.clone());
        self.engine.depth = 0;
        self.engine.profile = None;
        if let Some(gpu) = self.engine.model.gpu()
            && gpu.coop_state() == CoopState::Untested
            && halves(&self.root.graph)
        {
            coop_probe(gpu).await?;
        }
        Ok(())
    }

    async fn run_once(&mut self, io: IoBinding) -> Result<Vec<(Arc<str>, HostTensor)>> {
        let model = &self.engine.model;
        let wires = io.wires(model.graph(), model.caps())?;
        let outputs = match self.engine.model.gpu() {
            None => self.on_host(wires)?.into_iter().map(Some).collect(),
            Some(_) => run(&mut self.engine, &mut self.root, wires).await?,
        };
        let names = self.model().graph().outputs().iter().map(|(n, _)| n);
        let given = names.zip(outputs);
        Ok(given.filter_map(|(n, t)| Some((n.clone(), t?))).collect())
    }

    /// Records a run into a caller's encoder ([`Recorder::over`]) instead of submitting it. Outputs that are not bound are
    /// not given; inputs on the host are copied now. The commands may be submitted at any time, also after other runs, and
    /// states change when they are executed.
    ///
    /// # Errors
    /// Those of [`Session::run_with`]; [`Error::NotRecordable`] for a model that needs the host between its dispatches, or
    /// whose shapes depend on data: it names the node.
    pub async fn record(&mut self, io: IoBinding, recorder: Recorder<'_>) -> Result<()> {
        self.begin().await?;
        let model = &self.engine.model;
        let wires = io.wires(model.graph(), model.caps())?;
        record(&mut self.engine, &mut self.root, wires, recorder).await
    }

    fn on_host(&mut self, wires: Wires) -> Result<Vec<HostTensor>> {
        let graph = &self.root.graph;
        checked(graph, &wires.feeds)?;
        let inputs = wires.all_host(graph)?;
        let mut states = self.engine.states.host();
        let Engine { meter, profile, .. } = &mut self.engine;
        let outputs = host::watched(graph, &inputs, &mut states, meter, |node, time| {
            if let Some(profile) = profile {
                profile.on_host(node, time);
            }
        })?;
        for (i, t) in states.iter().enumerate() {
            self.engine.states.write(i, t, None)?;
        }
        Ok(outputs)
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

    /// Runs the model once with a timestamp around every dispatch; nodes on the host are timed by its clock. A node of control
    /// flow counts, on the device, by what its bodies run, and on the host as one.
    ///
    /// # Errors
    /// An unsupported feature on a device without timestamp queries (`Caps::timestamps`); those of [`Session::run`].
    pub async fn profile(&mut self, inputs: &[(&str, HostTensor)]) -> Result<Vec<NodeTime>> {
        self.begin().await?;
        self.engine.profile = Some(Profile::new());
        let io = IoBinding::new();
        let io = inputs.iter().fold(io, |io, (n, t)| io.input(n, t.clone()));
        let result = self.run_once(io).await;
        let profile = self.engine.profile.take();
        result.map(|_| profile.map_or_else(Vec::new, |profile| profile.times))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.engine.model)
            .finish_non_exhaustive()
    }
}

/// Whether a value is of f16, or may be: facts that wait for values are not known yet, and bodies of control flow are not
/// looked into.
fn halves(graph: &Graph) -> bool {
    let may = |node: &Node| {
        let half = |fact: &Option<Fact>| fact.as_ref().is_none_or(|f| f.dtype == DType::F16);
        matches!(node.op, Op::If(_) | Op::Loop(_) | Op::Scan(_)) || node.outputs.iter().any(half)
    };
    graph.nodes().iter().any(may)
}

/// An error for the first node that would run on the host, if that is forbidden.
pub(crate) fn deny(graph: &Graph, schedule: &Schedule, model: &Model) -> Result<()> {
    if model.options().fallback == Fallback::Allow || model.gpu().is_none() {
        return Ok(());
    }
    let placed = schedule.places.iter().enumerate();
    let placed = placed.filter_map(|(i, place)| match place {
        Some(Place::Host(reason)) => Some((i, reason.to_string())),
        _ => None,
    });
    let late = schedule.late.iter().flat_map(|l| &l.compute);
    let late = late.map(|&i| {
        (
            i as usize,
            late_reason(&graph.nodes()[i as usize].op).to_owned(),
        )
    });
    match placed.chain(late).min() {
        Some((i, reason)) => Err(Error::HostDenied {
            node: graph.nodes()[i].name.to_string(),
            op: graph.nodes()[i].op.name().to_string(),
            reason,
        }),
        None => Ok(()),
    }
}

/// Why a node that waits for values runs on the host.
pub(crate) fn late_reason(op: &Op) -> &'static str {
    match op {
        Op::If(_) | Op::Loop(_) | Op::Scan(_) => "control flow",
        _ => "output shapes depend on the data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attrs, Dim, Fact, ModelOptions, samples};
    use tilewright_tensor::DType;

    #[test]
    fn nodes_on_the_host_are_timed() {
        let op = |name| Op::from_name(name, &Attrs::new(name)).unwrap();
        let mut g = Graph::new();
        let shape = [Dim::from(64usize), Dim::from(64usize)];
        let x = g.input("x", Some(Fact::new(DType::F32, shape))).unwrap();
        let w = g.constant(samples::uniform(&[64, 64], 1));
        let y = g.add1(op("MatMul"), &[x, w]).unwrap();
        let y = g.add1(op("Relu"), &[y]).unwrap();
        g.output("y", y);
        let mut session = Session::new(&Model::host(g, ModelOptions::default())).unwrap();
        let inputs = [("x", samples::uniform(&[64, 64], 2))];
        let times = pollster::block_on(session.profile(&inputs)).unwrap();
        let listed: Vec<_> = times.iter().map(|t| (&*t.op, &*t.shader)).collect();
        assert_eq!(listed, [("MatMul", "host"), ("Relu", "host")]);
        // 64 cubed products take longer than the clock's step.
        assert!(times[0].nanoseconds > 0, "{times:?}");
        pollster::block_on(session.run(&inputs)).unwrap();
        assert!(session.engine.profile.is_none());
    }
}
