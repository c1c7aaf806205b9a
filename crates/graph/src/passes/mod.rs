//! Passes: each is a `fn(&Graph) -> Result<Graph>` over [`rewrite`]. Dead nodes and repeated ones disappear by
//! rebuilding, since a graph finds equal nodes as they are added.

use crate::{Error, Fact, Graph, Node, Op, Result, Value};
use std::collections::HashMap;
use tilewright_device::Caps;

mod batch_norm;
mod control;
mod epilogue;
mod fuse;
mod layout;
mod quantised;
mod readers;
mod sizes;
mod sparse;
mod tidy;
mod weights;

pub use batch_norm::batch_norm;
pub use control::inline_constant_if;
pub use epilogue::epilogues;
pub use fuse::fuse;
pub use layout::layout;
pub use quantised::quantised;
pub use sizes::sizes;
pub use sparse::{SparseOptions, sparse};
pub use tidy::tidy;
pub use weights::weights;

/// A node under reconstruction: where it was, and its inputs in the new graph.
#[derive(Debug)]
pub struct Visit<'a> {
    /// The graph being read.
    pub old: &'a Graph,
    /// The node's place in it.
    pub index: u32,
    /// The node.
    pub node: &'a Node,
    /// Its inputs in the new graph.
    pub inputs: &'a [Option<Value>],
    /// Earlier values of the old graph, and what stands for them in the new one.
    pub made: &'a HashMap<Value, Value>,
}

/// Rebuilds `graph` node by node. `rule` may add other nodes to the new graph and answer with the values that stand for
/// the node's outputs; answering none copies the node. Only nodes that outputs and states need are visited; inputs and
/// states are always kept.
pub fn rewrite(
    graph: &Graph,
    rule: impl FnMut(&Visit<'_>, &mut Graph) -> Result<Option<Vec<Value>>>,
) -> Result<Graph> {
    rebuild(graph, &HashMap::new(), rule)
}

fn rebuild(
    graph: &Graph,
    known: &HashMap<Value, Known>,
    mut rule: impl FnMut(&Visit<'_>, &mut Graph) -> Result<Option<Vec<Value>>>,
) -> Result<Graph> {
    let mut new = Graph::new();
    let mut map: HashMap<Value, Value> = HashMap::new();
    for (name, v) in graph.inputs() {
        let value = match known.get(v) {
            Some(Known::Constant(t)) => new.constant(t.clone()),
            Some(Known::Fact(f)) => new.input(name, Some(f.clone()))?,
            None => new.input_like(graph, name, *v)?,
        };
        map.insert(*v, value);
    }
    for state in graph.states() {
        map.insert(state.read, new.state(&state.name, state.initial.clone())?);
    }
    let live = graph.live();
    for (i, node) in graph.nodes().iter().enumerate() {
        if !live[i] || matches!(node.op, Op::Input(_) | Op::State(_)) {
            continue;
        }
        let (inputs, index) = (mapped(&map, &node.inputs)?, i as u32);
        let visit = Visit {
            old: graph,
            index,
            node,
            inputs: &inputs,
            made: &map,
        };
        let values = match rule(&visit, &mut new)? {
            Some(values) => values,
            None => copy(node, &inputs, &mut new)?,
        };
        let before = (0..).map(|output| Value {
            node: index,
            output,
        });
        map.extend(before.zip(values));
    }
    let find = |v: &Value, name: &str| {
        let found = map.get(v).copied();
        found.ok_or_else(|| Error::Graph(format!("a pass lost `{name}`")))
    };
    for (name, v) in graph.outputs() {
        new.output(name, find(v, name)?);
    }
    for state in graph.states() {
        if let Some(next) = &state.next {
            new.set_next(find(&state.read, &state.name)?, find(next, &state.name)?)?;
        }
    }
    if cfg!(debug_assertions) {
        new.check()?;
    }
    Ok(new)
}

/// Adds a node to `graph` as it was.
pub fn copy(node: &Node, inputs: &[Option<Value>], graph: &mut Graph) -> Result<Vec<Value>> {
    match &node.op {
        Op::Constant(c) => Ok(vec![graph.constant(c.tensor.clone())]),
        Op::Sizes(_) => {
            let facts = node.outputs.iter().cloned();
            Ok(facts
                .map(|fact| graph.source(node.op.clone(), fact, &node.name))
                .collect())
        }
        op => graph.add_node(op.clone(), inputs, &node.name, node.outputs.len()),
    }
}

fn mapped(map: &HashMap<Value, Value>, inputs: &[Option<Value>]) -> Result<Vec<Option<Value>>> {
    let find = |v: Value| {
        map.get(&v)
            .copied()
            .ok_or_else(|| Error::Graph(format!("a pass lost {v}")))
    };
    inputs.iter().map(|v| v.map(find).transpose()).collect()
}

/// What is known of a graph's input when it is made concrete: its value, or its fact.
#[derive(Clone, Debug)]
pub enum Known {
    /// The input becomes this constant.
    Constant(tilewright_tensor::HostTensor),
    /// The input stays one, of this type and shape.
    Fact(Fact),
}

/// `graph` with some inputs turned into constants or given (better) facts; all shapes are inferred anew.
pub fn specialise(graph: &Graph, known: &HashMap<Value, Known>) -> Result<Graph> {
    rebuild(graph, known, |_, _| Ok(None))
}

/// The passes before a graph runs on a device, in order.
pub fn device(graph: &Graph, caps: &Caps) -> Result<Graph> {
    let graph = inline_constant_if(graph)?;
    let graph = sizes(&graph)?;
    let graph = tidy(&graph)?;
    let graph = quantised(&graph, caps)?;
    let graph = batch_norm(&graph)?;
    let graph = layout(&graph, caps)?;
    // Without the transposes that nobody needs any more, which would count as users.
    let graph = rewrite(&graph, |_, _| Ok(None))?;
    epilogues(&fuse(&graph, caps)?, caps)
}
