//! The graph: nodes in topological order, append-only, each written once.
//!
//! Adding a node infers its outputs, folds it if everything it needs is constant, and finds an equal node if there is
//! one. A node whose output shapes cannot be known yet (they depend on values or data that come later) is kept with
//! unknown facts; so are the nodes behind it. They are planned when those values are there (see [`crate::stage`]).

use crate::dim::Symbol;
use crate::ops::{Constant, Input};
use crate::state::State;
use crate::{Error, Fact, Op, Result, Weight};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tilewright_tensor::{DType, HostTensor};

mod fold;

use fold::Folded;
pub(crate) use fold::evaluated;

/// Output `output` of node `node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// Index of the node.
    pub node: u32,
    /// Index of its output.
    pub output: u32,
}

/// One operation on values that came before.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Its inputs; none where an optional one is left out.
    pub inputs: Vec<Option<Value>>,
    /// What is known of its outputs; none where that has to wait.
    pub outputs: Vec<Option<Fact>>,
    /// Its name in the model, for messages; may be empty.
    pub name: Arc<str>,
}

/// Nodes, inputs and outputs.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    inputs: Vec<(Arc<str>, Value)>,
    /// Types of inputs whose rank is not known.
    types: HashMap<Value, DType>,
    outputs: Vec<(Arc<str>, Value)>,
    pub(crate) states: Vec<State>,
    seen: HashMap<(Op, Vec<Option<Value>>), u32>,
    /// Names of the inputs.
    names: HashSet<Arc<str>>,
    /// Bytes of constants.
    given: u64,
    folded: Folded,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// All nodes; inputs of a node come before it.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True if there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Names and values of the graph's inputs, in the model's order.
    pub fn inputs(&self) -> &[(Arc<str>, Value)] {
        &self.inputs
    }

    /// Names and values of the graph's outputs, in the model's order.
    pub fn outputs(&self) -> &[(Arc<str>, Value)] {
        &self.outputs
    }

    /// The node that makes `value`.
    pub fn node(&self, value: Value) -> &Node {
        &self.nodes[value.node as usize]
    }

    /// What is known of `value`; none if that has to wait.
    pub fn fact(&self, value: Value) -> Option<&Fact> {
        self.node(value)
            .outputs
            .get(value.output as usize)?
            .as_ref()
    }

    /// What is known of `value`; an error if that has to wait.
    pub fn need_fact(&self, value: Value) -> Result<&Fact> {
        self.fact(value)
            .ok_or_else(|| Error::Graph(format!("the shape of {value} is not known yet")))
    }

    /// The constant behind `value`, if it is one.
    pub fn weight_of(&self, value: Value) -> Option<&Weight> {
        self.fact(value)?.weight()
    }

    /// The data of the constant behind `value`, loaded if it is not in host memory; none where that is no constant.
    ///
    /// # Errors
    /// Those of [`Weight::load`].
    pub fn constant_of(&self, value: Value) -> Result<Option<HostTensor>> {
        self.fact(value).map_or(Ok(None), Fact::load)
    }

    /// Adds an input. `fact` is none if not even the rank is known.
    pub fn input(&mut self, name: &str, fact: Option<Fact>) -> Result<Value> {
        if !self.names.insert(name.into()) {
            return Err(Error::Input {
                name: name.into(),
                what: "is declared twice".into(),
            });
        }
        fact.iter().try_for_each(Fact::countable)?;
        let value = self.push(Node {
            op: Input { name: name.into() }.into(),
            inputs: vec![],
            outputs: vec![fact],
            name: name.into(),
        });
        self.inputs.push((name.into(), value));
        Ok(value)
    }

    /// Adds an input of which only the type is known.
    pub fn input_of(&mut self, name: &str, dtype: DType) -> Result<Value> {
        let value = self.input(name, None)?;
        self.types.insert(value, dtype);
        Ok(value)
    }

    /// Adds an input like one of another graph.
    pub(crate) fn input_like(&mut self, other: &Graph, name: &str, like: Value) -> Result<Value> {
        let value = self.input(name, other.fact(like).cloned())?;
        let declared = other.types.get(&like);
        self.types.extend(declared.map(|dtype| (value, *dtype)));
        Ok(value)
    }

    /// The type of `value`; none if that has to wait.
    pub fn dtype(&self, value: Value) -> Option<DType> {
        let declared = || self.types.get(&value).copied();
        self.fact(value).map(|fact| fact.dtype).or_else(declared)
    }

    /// Adds a constant: a tensor, or a [`Weight`] that is loaded when it is needed.
    pub fn constant(&mut self, tensor: impl Into<Weight>) -> Value {
        let tensor = tensor.into();
        let op = Op::from(Constant {
            tensor: tensor.clone(),
        });
        // Weights are not compared byte by byte; small constants repeat often.
        let small = tensor.len() <= 64;
        if small && let Some(&node) = self.seen.get(&(op.clone(), vec![])) {
            return Value { node, output: 0 };
        }
        self.given = self.given.saturating_add(tensor.bytes());
        let fact = Some(Fact::of(tensor));
        let value = self.push(Node {
            op: op.clone(),
            inputs: vec![],
            outputs: vec![fact],
            name: "".into(),
        });
        if small {
            self.seen.insert((op, vec![]), value.node);
        }
        value
    }

    /// A constant of integers.
    pub fn ints(&mut self, values: &[i64]) -> Result<Value> {
        Ok(self.constant(HostTensor::from_vec([values.len()], values.to_vec())?))
    }

    /// A scalar constant of type `dtype`.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Result<Value> {
        Ok(self.constant(HostTensor::from_f64(dtype, vec![], vec![value])?))
    }

    /// Declares an output.
    pub fn output(&mut self, name: &str, value: Value) {
        self.outputs.push((name.into(), value));
    }

    /// Adds an operation with all inputs given; its outputs.
    pub fn add(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Vec<Value>> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.add_node(op.into(), &inputs, "", 1)
    }

    /// Adds an operation and gives its first output.
    pub fn add1(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Value> {
        Ok(self.add(op, inputs)?[0])
    }

    /// Adds an operation. `outputs` says how many outputs are asked for, which matters only while they are unknown.
    pub fn add_node(
        &mut self,
        op: Op,
        inputs: &[Option<Value>],
        name: &str,
        outputs: usize,
    ) -> Result<Vec<Value>> {
        let absent = |v: &&Value| self.nodes.get(v.node as usize).is_none();
        if let Some(bad) = inputs.iter().flatten().find(absent) {
            let what = format!("node `{name}` uses {bad}, which does not exist");
            return Err(Error::Graph(what));
        }
        if let Op::Constant(c) = op {
            return Ok(vec![self.constant(c.tensor)]);
        }
        let key = (op, inputs.to_vec());
        if key.0.folds()
            && let Some(&node) = self.seen.get(&key)
        {
            // A node whose outputs are not known yet has as many as were ever asked for.
            let found = &mut self.nodes[node as usize].outputs;
            if found.len() < outputs && found.iter().all(Option::is_none) {
                found.resize(outputs, None);
            }
            return Ok(self.outputs_of(node));
        }
        let at = |e: Error| e.at(&self.title(name), key.0.name());
        let facts = match self.infer(&key.0, inputs) {
            Ok(Some(facts)) => facts.into_iter().map(Some).collect(),
            Ok(None) => vec![None; outputs],
            Err(e) if e.is_late() => vec![None; outputs],
            Err(e) => return Err(at(e)),
        };
        if let Some((folded, cost)) = self.fold(&key.0, inputs, &facts).map_err(at)? {
            self.folded = cost;
            return Ok(folded.into_iter().map(|t| self.constant(t)).collect());
        }
        let facts = self
            .follow(&key.0, inputs, facts)
            .map_err(|e| e.at(&self.title(name), key.0.name()))?;
        // An output may be known although its inputs are not: the shape of an activation.
        let known: Option<Vec<Weight>> = facts
            .iter()
            .map(|f| f.as_ref()?.weight().cloned())
            .collect();
        if let Some(known) = known.filter(|_| key.0.folds()) {
            return Ok(known.into_iter().map(|t| self.constant(t)).collect());
        }
        let node = Node {
            op: key.0.clone(),
            inputs: inputs.to_vec(),
            outputs: facts,
            name: name.into(),
        };
        let value = self.push(node);
        self.seen.insert(key, value.node);
        Ok(self.outputs_of(value.node))
    }

    /// Adds a node without inputs.
    pub(crate) fn source(&mut self, op: Op, fact: Option<Fact>, name: &str) -> Value {
        self.push(Node {
            op,
            inputs: vec![],
            outputs: vec![fact],
            name: name.into(),
        })
    }

    fn push(&mut self, node: Node) -> Value {
        self.nodes.push(node);
        Value {
            node: (self.nodes.len() - 1) as u32,
            output: 0,
        }
    }

    fn title(&self, name: &str) -> String {
        if name.is_empty() {
            format!("#{}", self.nodes.len())
        } else {
            name.into()
        }
    }

    fn outputs_of(&self, node: u32) -> Vec<Value> {
        (0..self.nodes[node as usize].outputs.len() as u32)
            .map(|output| Value { node, output })
            .collect()
    }

    /// Facts of the outputs, or none if an input is unknown.
    fn infer(&self, op: &Op, inputs: &[Option<Value>]) -> Result<Option<Vec<Fact>>> {
        let mut facts = Vec::with_capacity(inputs.len());
        for input in inputs {
            match input {
                None => facts.push(None),
                Some(v) => match self.fact(*v) {
                    Some(f) => facts.push(Some(f)),
                    None => return Ok(None),
                },
            }
        }
        let facts = op.infer(&facts)?;
        facts.iter().try_for_each(Fact::countable)?;
        Ok(Some(facts))
    }

    /// True for each node that an output needs; inputs always count.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        let states = self
            .states
            .iter()
            .flat_map(|s| [Some(s.read), s.next])
            .flatten();
        let ends = self.outputs.iter().chain(&self.inputs).map(|(_, v)| *v);
        for v in ends.chain(states) {
            live[v.node as usize] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if live[i] {
                for v in self.nodes[i].inputs.iter().flatten() {
                    live[v.node as usize] = true;
                }
            }
        }
        live
    }

    /// The values that live nodes, outputs or states read; nobody has to compute the other outputs of a node.
    pub(crate) fn read(&self) -> HashSet<Value> {
        let live = self.live();
        let nodes = self.nodes.iter().zip(&live).filter(|(_, live)| **live);
        let inputs = nodes.flat_map(|(node, _)| node.inputs.iter().flatten().copied());
        let outputs = self.outputs.iter().map(|(_, v)| *v);
        let states = self.states.iter().filter_map(|s| s.next);
        inputs.chain(outputs).chain(states).collect()
    }

    /// What is known of a node's inputs; none for those that are left out or late.
    pub(crate) fn facts(&self, inputs: &[Option<Value>]) -> Vec<Option<&Fact>> {
        let fact = |v: &Option<Value>| v.and_then(|v| self.fact(v));
        inputs.iter().map(fact).collect()
    }

    /// Users of every node's values: (value, node that reads it), outputs not counted.
    pub fn users(&self) -> HashMap<Value, Vec<u32>> {
        let mut users: HashMap<Value, Vec<u32>> = HashMap::new();
        for (i, node) in self.nodes.iter().enumerate() {
            for v in node.inputs.iter().flatten() {
                users.entry(*v).or_default().push(i as u32);
            }
        }
        users
    }

    /// The symbols of the graph's inputs, each once, in order of appearance.
    pub fn symbols(&self) -> Vec<Symbol> {
        let mut found = vec![];
        for (_, v) in &self.inputs {
            for d in self.fact(*v).iter().flat_map(|f| &f.shape) {
                d.symbols(&mut found);
            }
        }
        let mut seen = HashSet::new();
        found.retain(|s| seen.insert(s.clone()));
        found
    }

    /// Calls `see` with every constant of the graph, and of the graphs in it.
    pub(crate) fn each_weight(&self, see: &mut dyn FnMut(&Weight)) {
        for node in &self.nodes {
            if let Op::Constant(c) = &node.op {
                see(&c.tensor);
            }
            for inner in node.op.graphs() {
                inner.each_weight(see);
            }
        }
    }

    /// Verifies what every pass must keep: order, existing values, declared inputs. Cheap; run after passes in debug builds.
    pub fn check(&self) -> Result<()> {
        for (i, node) in self.nodes.iter().enumerate() {
            for v in node.inputs.iter().flatten() {
                let ok = (v.node as usize) < i
                    && (v.output as usize) < self.nodes[v.node as usize].outputs.len();
                if !ok {
                    return Err(Error::Graph(format!(
                        "node #{i} ({}) reads {v}",
                        node.op.name()
                    )));
                }
            }
        }
        for (name, v) in &self.outputs {
            if self
                .nodes
                .get(v.node as usize)
                .is_none_or(|n| v.output as usize >= n.outputs.len())
            {
                return Err(Error::Graph(format!(
                    "output `{name}` is {v}, which does not exist"
                )));
            }
        }
        Ok(())
    }
}
