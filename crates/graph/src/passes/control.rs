//! Conditions that turn out constant.

use super::{Visit, copy, mapped, rewrite};
use crate::{Error, Graph, Op, Result, Value};
use std::collections::HashMap;

/// Puts the chosen branch in the place of every [`If`](crate::ops::If) whose condition is constant, also of those inside
/// the branch.
pub fn inline_constant_if(graph: &Graph) -> Result<Graph> {
    rewrite(graph, constant_if)
}

/// The rule of [`inline_constant_if`], for use beside others.
pub(crate) fn constant_if(visit: &Visit<'_>, new: &mut Graph) -> Result<Option<Vec<Value>>> {
    chosen(&visit.node.op, visit.inputs, new)
}

fn chosen(op: &Op, inputs: &[Option<Value>], new: &mut Graph) -> Result<Option<Vec<Value>>> {
    let Op::If(op) = op else { return Ok(None) };
    let condition = inputs.first().copied().flatten();
    let condition = condition.and_then(|v| new.fact(v)?.ints());
    let Some([value]) = condition.as_deref() else {
        return Ok(None);
    };
    let (branch, range) = op.branch(*value != 0);
    let taken = inputs
        .get(range)
        .ok_or_else(|| Error::op("If", "a branch takes more values than the node has"))?;
    inline(branch, taken, new).map(Some)
}

/// Adds the nodes of `body` to `new` with `taken` for its inputs; its outputs.
fn inline(body: &Graph, taken: &[Option<Value>], new: &mut Graph) -> Result<Vec<Value>> {
    let mut map: HashMap<Value, Value> = HashMap::new();
    for ((_, v), outer) in body.inputs().iter().zip(taken) {
        map.extend(outer.map(|outer| (*v, outer)));
    }
    let live = body.live();
    for (i, node) in body.nodes().iter().enumerate() {
        if !live[i] || matches!(node.op, Op::Input(_)) {
            continue;
        }
        let inputs = mapped(&map, &node.inputs)?;
        let values = match chosen(&node.op, &inputs, new)? {
            Some(values) => values,
            None => copy(node, &inputs, new)?,
        };
        let from = (0..).map(|output| Value {
            node: i as u32,
            output,
        });
        map.extend(from.zip(values));
    }
    let outputs = body.outputs().iter().map(|(_, v)| Some(*v));
    let outputs = mapped(&map, &outputs.collect::<Vec<_>>())?;
    Ok(outputs.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::If;
    use crate::{Operator, host};

    #[test]
    fn a_constant_condition_leaves_no_branch() {
        for case in If::cases() {
            let mut graph = Graph::new();
            let mut inputs = vec![];
            let mut fed = vec![];
            for (i, t) in case.inputs.iter().flatten().enumerate() {
                inputs.push(Some(if i == 0 {
                    graph.constant(t.clone())
                } else {
                    fed.push(t.clone());
                    let fact = crate::Fact::sized(t.dtype(), t.shape());
                    graph.input(&format!("x{i}"), Some(fact)).unwrap()
                }));
            }
            let y = graph.add_node(case.op.clone(), &inputs, "", 1).unwrap();
            graph.output("y", y[0]);
            let after = inline_constant_if(&graph).unwrap();
            assert!(after.nodes().iter().all(|n| n.op.name() != "If"));
            assert_eq!(
                host::run(&after, &fed).unwrap(),
                host::run(&graph, &fed).unwrap()
            );
        }
    }
}
