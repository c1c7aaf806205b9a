//! Nodes that do nothing, or that together do what one does.

use super::{Visit, rewrite};
use crate::ops::{Cast, Reshape, Transpose};
use crate::{Fact, Graph, Op, Result, Value};

/// Removes identities: Identity, Dropout in inference, Cast to the same type, Expand, Tile, Reshape and the like to the same
/// shape, slices of everything, Clip without bounds, joins and sums of one tensor. Joins transposes of transposes and reshapes
/// of reshapes, and turns transposes that only move axes of 1 into reshapes.
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
        Op::Cast(_) | Op::CastLike(_) | Op::Expand(_) | Op::Tile(_) => same,
        op if reshapes(op) => same,
        // A slice backwards may have the same shape.
        Op::Slice(_) => same && all_are(visit, new, 4, 1),
        Op::Pad(_) => same && visit.inputs.get(1).is_some() && all_are(visit, new, 1, 0),
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
        op if reshapes(op) => reshaped(visit, new, x, to),
        _ => Ok(None),
    }
}

/// True for operators that only change the shape.
fn reshapes(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_)
    )
}

/// True if input `i` is left out or holds nothing but `value`.
fn all_are(visit: &Visit<'_>, new: &Graph, i: usize, value: i64) -> bool {
    match visit.inputs.get(i).copied().flatten() {
        None => true,
        Some(v) => {
            let held = new.fact(v).and_then(Fact::ints);
            held.is_some_and(|held| held.iter().all(|&n| n == value))
        }
    }
}

/// A reshape of a reshape is one reshape of what that one reads.
fn reshaped(visit: &Visit<'_>, new: &mut Graph, x: Value, to: &Fact) -> Result<Option<Vec<Value>>> {
    let before = new.node(x);
    let inner = before.inputs.first().copied().flatten();
    let Some(inner) = inner.filter(|_| reshapes(&before.op)) else {
        return Ok(None);
    };
    if new.need_fact(inner)?.shape == to.shape {
        return Ok(Some(vec![inner]));
    }
    let target = match to.known_shape() {
        Some(shape) => shape.iter().map(|&n| n as i64).collect(),
        // A 0 would copy a size of the shape in between.
        None => match (&visit.node.op, visit.inputs.get(1).copied().flatten()) {
            (Op::Reshape(_), Some(shape)) => match new.fact(shape).and_then(Fact::ints) {
                Some(shape) if !shape.contains(&0) => shape,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        },
    };
    // A 0 stands for an empty axis only where all is known, and then -1 does not appear.
    let allow_zero = !target.contains(&-1);
    let shape = new.ints(&target)?;
    Ok(Some(new.add(Reshape { allow_zero }, &[inner, shape])?))
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
    use crate::ops::{Dropout, Identity, Slice, Tile, Unary, Unsqueeze};
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
    fn moves_of_everything_to_the_same_place_vanish() {
        let mut graph = Graph::new();
        let n = crate::Dim::symbol("n");
        let fact = Fact::new(DType::F32, [n, 3i64.into()]);
        let x = graph.input("x", Some(fact)).unwrap();
        let (zero, one) = (graph.ints(&[0]).unwrap(), graph.ints(&[1]).unwrap());
        let (end, back) = (graph.ints(&[i64::MAX]).unwrap(), graph.ints(&[-1]).unwrap());
        let all = graph.add1(Slice, &[x, zero, end, zero, one]).unwrap();
        let repeats = graph.ints(&[1, 1]).unwrap();
        let tiled = graph.add1(Tile, &[all, repeats]).unwrap();
        let begin = graph.ints(&[i64::MIN]).unwrap();
        let reversed = graph.add1(Slice, &[tiled, end, begin, one, back]).unwrap();
        graph.output("y", reversed);
        assert_eq!(names(&tidy(&graph).unwrap()), ["Slice"]);
    }

    #[test]
    fn reshapes_join() {
        let mut graph = Graph::new();
        let n = crate::Dim::symbol("n");
        let fact = Fact::new(DType::F32, [n, 6i64.into()]);
        let x = graph.input("x", Some(fact)).unwrap();
        let reshape = Reshape { allow_zero: false };
        let (zero, three) = (graph.ints(&[0]).unwrap(), graph.ints(&[-1, 2, 3]).unwrap());
        let a = graph.add1(Unsqueeze, &[x, zero]).unwrap();
        let b = graph.add1(reshape.clone(), &[a, three]).unwrap();
        let two = graph.ints(&[-1, 6]).unwrap();
        let c = graph.add1(reshape, &[b, two]).unwrap();
        graph.output("b", b);
        graph.output("c", c);
        let tidied = tidy(&graph).unwrap();
        assert_eq!(names(&tidied), ["Reshape"]);
        assert_eq!(tidied.outputs()[1].1, tidied.inputs()[0].1);
        let values = samples::uniform(&[4, 6], 1);
        let run = |g: &Graph| crate::host::run(g, std::slice::from_ref(&values)).unwrap();
        assert_eq!(run(&tidied), run(&graph));
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
