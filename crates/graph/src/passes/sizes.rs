//! Values that follow from the sizes of the inputs.

use super::rewrite;
use crate::ops::Sizes;
use crate::{Fact, Graph, Result};

/// Replaces every node whose outputs are all known as sizes (Shape, and the arithmetic behind it) by their values. What such a
/// node read need no longer be computed, let alone brought to the host.
pub fn sizes(graph: &Graph) -> Result<Graph> {
    rewrite(graph, |visit, new| {
        let facts: Vec<Fact> = visit.node.outputs.iter().flatten().cloned().collect();
        let all = facts.len() == visit.node.outputs.len();
        if !all || !facts.iter().all(Fact::is_symbolic) {
            return Ok(None);
        }
        let name = &visit.node.name;
        let source = |fact: Fact| new.source(Sizes::of(&fact).into(), Some(fact), name);
        Ok(Some(facts.into_iter().map(source).collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Concat, Expand, Gather, Shape, Unary, Unsqueeze};
    use crate::{Dim, Op};
    use tilewright_tensor::DType;

    #[test]
    fn a_shape_no_longer_holds_its_tensor() {
        let mut g = Graph::new();
        let fact = Fact::new(DType::F32, [Dim::symbol("n"), 3i64.into()]);
        let x = g.input("x", Some(fact)).unwrap();
        let twice = g.add1(Unary::new("Exp").unwrap(), &[x]).unwrap();
        let shape = g
            .add1(
                Shape {
                    start: 0,
                    end: None,
                },
                &[twice],
            )
            .unwrap();
        let at = g.scalar(DType::I64, 0.0).unwrap();
        let n = g.add1(Gather { axis: 0 }, &[shape, at]).unwrap();
        let zero = g.ints(&[0]).unwrap();
        let n = g.add1(Unsqueeze, &[n, zero]).unwrap();
        let two = g.ints(&[2]).unwrap();
        let target = g.add1(Concat { axis: 0 }, &[two, n, zero]).unwrap();
        let ones = g.scalar(DType::F32, 1.0).unwrap();
        let y = g.add1(Expand, &[ones, target]).unwrap();
        g.output("y", y);
        let after = sizes(&g).unwrap();
        let live = after.live();
        let nodes = after.nodes().iter().zip(live).filter(|(_, live)| *live);
        let names: Vec<&str> = nodes.map(|(node, _)| node.op.name()).collect();
        assert_eq!(names, ["Input", "Sizes", "Constant", "Expand"], "{after}");
        let found = after.nodes().iter().rfind(|n| matches!(n.op, Op::Sizes(_)));
        let fact = found.unwrap().outputs[0].as_ref().unwrap();
        assert_eq!(fact.dims().unwrap()[1], Dim::symbol("n"));
    }
}
