//! Nodes that do nothing, or that together do what one does.

use super::{Visit, rewrite};
use crate::ops::{Cast, Reshape, Transpose};
use crate::{Fact, Graph, Op, Result, Value};

/// Removes identities: Identity, Dropout in inference, Cast to the same type, Expand to the same shape, Clip without bounds,
/// joins and sums of one tensor. Joins transposes of transposes, and turns those that only move axes of 1 into reshapes.
pub fn tidy(graph: &Graph) -> Result<Graph> {
    let used = graph.users();
    let out: Vec<Value> = graph.outputs().iter().map(|(_, v)| *v).collect();
    rewrite(graph, |visit, new| {
        let mask = Value {
            node: visit.index,
            output: 1,
        };
        if matches!(visit.node.op, Op::Dropout(_))
            && (used.contains_key(&mask) || out.contains(&mask))
        {
            return Ok(None);
        }
        tidied(visit, new)
    })
}

fn tidied(visit: &Visit<'_>, new: &mut Graph) -> Result<Option<Vec<Value>>> {
    let Some(Some(x)) = visit.inputs.first().copied() else {
        return Ok(None);
    };
    let output = visit.node.outputs.first().and_then(Option::as_ref);
    let (Some(from), Some(to)) = (new.fact(x).cloned(), output) else {
        return Ok(None);
    };
    let alone = visit.inputs.iter().flatten().count() == 1;
    let same = from.dtype == to.dtype && from.shape == to.shape;
    let nothing = match &visit.node.op {
        Op::Identity(_) | Op::Dropout(_) => true,
        Op::Cast(_) | Op::CastLike(_) | Op::Expand(_) => same,
        Op::Clip(_) | Op::Concat(_) | Op::Variadic(_) => alone && same,
        _ => false,
    };
    if nothing {
        return Ok(Some(vec![x]));
    }
    match &visit.node.op {
        // The second input is only looked at for its type.
        Op::CastLike(_) => Ok(Some(vec![new.add1(Cast { to: to.dtype }, &[x])?])),
        Op::Transpose(t) => transposed(new, t, x, &from, to),
        _ => Ok(None),
    }
}

fn transposed(
    new: &mut Graph,
    t: &Transpose,
    x: Value,
    from: &Fact,
    to: &Fact,
) -> Result<Option<Vec<Value>>> {
    let order = t.order(from.rank())?;
    if order.is_sorted() {
        return Ok(Some(vec![x]));
    }
    if let Op::Transpose(before) = &new.node(x).op
        && let Some(inner) = new.node(x).inputs.first().copied().flatten()
    {
        let first = before.order(from.rank())?;
        let perm = order.iter().map(|&i| first[i] as i64).collect();
        let fact = new.need_fact(inner)?.clone();
        let joined = Transpose { perm: Some(perm) };
        return match transposed(new, &joined, inner, &fact, to)? {
            Some(values) => Ok(Some(values)),
            None => Ok(Some(new.add(joined, &[inner])?)),
        };
    }
    let long: Vec<usize> = order
        .iter()
        .copied()
        .filter(|&i| from.shape[i].known() != Some(1))
        .collect();
    match to.known_shape() {
        Some(shape) if long.is_sorted() => {
            let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
            let shape = new.ints(&shape)?;
            Ok(Some(new.add(Reshape { allow_zero: true }, &[x, shape])?))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Dropout, Identity, Unary};
    use crate::samples;
    use tilewright_tensor::DType;

    fn names(graph: &Graph) -> Vec<String> {
        let live = graph.live();
        let nodes = graph.nodes().iter().enumerate().filter(|(i, _)| live[*i]);
        nodes
            .map(|(_, n)| n.op.name().to_string())
            .filter(|n| n != "Input" && n != "Constant")
            .collect()
    }

    fn input(graph: &mut Graph, shape: &[usize]) -> Value {
        graph
            .input("x", Some(Fact::sized(DType::F32, shape)))
            .unwrap()
    }

    fn transpose(perm: &[i64]) -> Transpose {
        Transpose {
            perm: Some(perm.to_vec()),
        }
    }

    #[test]
    fn identities_vanish() {
        let mut graph = Graph::new();
        let mut v = input(&mut graph, &[2, 3]);
        v = graph.add1(Identity, &[v]).unwrap();
        v = graph.add1(Dropout, &[v]).unwrap();
        v = graph.add1(Cast { to: DType::F32 }, &[v]).unwrap();
        v = graph.add1(Unary::new("Exp").unwrap(), &[v]).unwrap();
        v = graph.add1(transpose(&[1, 0]), &[v]).unwrap();
        v = graph.add1(transpose(&[1, 0]), &[v]).unwrap();
        graph.output("y", v);
        assert_eq!(names(&tidy(&graph).unwrap()), ["Exp"]);
    }

    #[test]
    fn a_mask_that_is_read_keeps_its_dropout() {
        let mut graph = Graph::new();
        let x = input(&mut graph, &[2]);
        let both = graph.add(Dropout, &[x]).unwrap();
        graph.output("y", both[0]);
        graph.output("mask", both[1]);
        assert_eq!(names(&tidy(&graph).unwrap()), ["Dropout"]);
    }

    #[test]
    fn transposes_join() {
        let mut graph = Graph::new();
        let x = input(&mut graph, &[2, 3, 4, 5]);
        let a = graph.add1(transpose(&[0, 2, 3, 1]), &[x]).unwrap();
        let b = graph.add1(transpose(&[0, 2, 1, 3]), &[a]).unwrap();
        graph.output("y", b);
        let tidied = tidy(&graph).unwrap();
        assert_eq!(names(&tidied), ["Transpose"]);
        let values = samples::uniform(&[2, 3, 4, 5], 1);
        let run = |g: &Graph| crate::host::run(g, std::slice::from_ref(&values)).unwrap();
        assert_eq!(run(&tidied), run(&graph));
    }

    #[test]
    fn moving_axes_of_one_is_a_reshape() {
        let mut graph = Graph::new();
        let x = input(&mut graph, &[2, 7, 1, 1]);
        let y = graph.add1(transpose(&[0, 2, 3, 1]), &[x]).unwrap();
        graph.output("y", y);
        let tidied = tidy(&graph).unwrap();
        assert_eq!(names(&tidied), ["Reshape"]);
        assert_eq!(
            tidied
                .fact(tidied.outputs()[0].1)
                .unwrap()
                .known_shape()
                .unwrap(),
            [2, 1, 1, 7]
        );
    }
}
