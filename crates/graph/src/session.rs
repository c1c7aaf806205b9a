//! Running a model: sizes are bound once and their plans replayed; the arena is the session's own.

use crate::cells::Cells;
use crate::compiled::Compiled;
use crate::engine::{Engine, run};
use crate::limits::Meter;
use crate::lower::Place;
use crate::model::Fallback;
use crate::{Bindings, Error, Graph, Model, Result, Symbol, host};
use std::sync::Arc;
use tilewright_device::SubmitOptions;
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

impl Session {
    /// A session of `model`: passes run, nodes are placed. Plans are made at the first run of each set of sizes.
    pub fn new(model: &Model) -> Result<Session> {
        let root = Compiled::new(model.graph(), model)?;
        let engine = Engine {
            model: model.clone(),
            arenas: vec![],
            depth: 0,
            states: Cells::new(&root.graph, model.gpu())?,
            submit: SubmitOptions::new(),
            meter: Meter::new(model.options().limits),
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
        self.engine.meter = Meter::new(self.engine.model.options().limits);
        let outputs = match self.engine.model.gpu() {
            None => {
                let graph = &self.root.graph;
                let mut states = self.engine.states.host();
                let inputs = checked(graph, ordered)?.0;
                let outputs = host::metered(graph, &inputs, &mut states, &self.engine.meter)?;
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
            if let Some(least) = d.as_symbol().map(Symbol::least).filter(|&least| n < least) {
                return Err(error(format!(
                    "size {d} is {n}, but the graph was made for sizes of at least {least} (see Symbol::maybe_empty)"
                )));
            }
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
