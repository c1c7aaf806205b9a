//! A node of a plan as a probe: the operator with its attributes on smaller tensors, so that its reference is quick.

use super::probe::Probe;
use crate::op::Case;
use crate::{Bindings, Fact, Graph, Op, Result, samples};
use std::borrow::Cow;
use tilewright_tensor::{DType, HostTensor};

/// Largest extents of the axes between first and last, and of the others; larger ones are cut to these and a rest that keeps
/// divisibility by 4. 132 is two of the largest tiles, the second ragged, 36 of the next.
const EXTENTS: [[usize; 2]; 7] = [
    [132, 132],
    [12, 132],
    [36, 68],
    [12, 68],
    [36, 36],
    [12, 36],
    [20, 20],
];

/// Steps that the reference of a probe may take: some tens of milliseconds.
const WORK: u64 = 16 << 20;

/// Constants of more elements are replaced by random ones where they are floats; smaller ones are cut. Their values may matter.
const KEPT: usize = 1 << 14;

/// Smaller forms of a node, the largest first. Its own sizes are the last, where its reference is quick.
pub(super) fn probes(graph: &Graph, node: u32, bindings: &Bindings) -> Result<Vec<Probe<'static>>> {
    let of = &graph.nodes()[node as usize];
    let facts = (of.inputs.iter())
        .map(|v| v.map(|v| graph.need_fact(v)?.at(bindings)).transpose())
        .collect::<Result<Vec<Option<Fact>>>>()?;
    let read = graph.read();
    let read: Vec<bool> = (0..of.outputs.len() as u32)
        .map(|output| read.contains(&crate::Value { node, output }))
        .collect();
    let mut made: Vec<Vec<Vec<usize>>> = vec![];
    let mut probes = vec![];
    let sizes = EXTENTS.into_iter().chain([[usize::MAX; 2]]);
    for extents in sizes {
        let shapes: Vec<Vec<usize>> = facts
            .iter()
            .map(|f| f.as_ref().map_or(vec![], |f| cut(&plain(f), extents)))
            .collect();
        if made.contains(&shapes) {
            continue;
        }
        if let Some(case) = case(&of.op, &facts, &shapes)? {
            probes.push(Probe {
                case: Cow::Owned(case),
                read: read.clone(),
                steps: is_stepped(&of.op),
            });
        }
        made.push(shapes);
    }
    Ok(probes)
}

fn plain(fact: &Fact) -> Vec<usize> {
    let sizes = fact.shape.iter().map(|d| d.known().unwrap_or(0));
    sizes.map(|n| usize::try_from(n).unwrap_or(0)).collect()
}

/// Extents over the limits cut to them, with the same rest to 4.
fn cut(shape: &[usize], [middle, ends]: [usize; 2]) -> Vec<usize> {
    let last = shape.len().saturating_sub(1);
    let limit = |axis: usize| {
        if axis > 0 && axis < last {
            middle
        } else {
            ends
        }
    };
    let sizes = shape.iter().enumerate();
    sizes
        .map(|(axis, &n)| match limit(axis) {
            most if n > most => most + n % 4,
            _ => n,
        })
        .collect()
}

/// Whether results are rounded to steps, or compared: functions that a pass fused, and whatever gives integers.
fn is_stepped(op: &Op) -> bool {
    let rounds = |name: &str| name.contains("Quantize") || name.contains("Integer");
    rounds(op.name())
        || op.name().starts_with("QLinear")
        || op.attrs().iter().any(|a| a.0 == "code")
}

/// The operator on inputs of these shapes; none where they do not fit it, or its reference takes too long.
fn case(op: &Op, facts: &[Option<Fact>], shapes: &[Vec<usize>]) -> Result<Option<Case>> {
    let sized: Vec<Option<Fact>> = (facts.iter().zip(shapes))
        .map(|(fact, shape)| fact.as_ref().map(|f| Fact::sized(f.dtype, shape)))
        .collect();
    let sized: Vec<Option<&Fact>> = sized.iter().map(Option::as_ref).collect();
    // Operators that need values of constants are asked again below.
    match op.infer(&sized) {
        Ok(outputs) if op.work(&sized, &outputs) > WORK => return Ok(None),
        Err(e) if !e.is_late() => return Ok(None),
        _ => {}
    }
    let (mut inputs, mut constant) = (vec![], vec![]);
    for (i, (fact, shape)) in facts.iter().zip(shapes).enumerate() {
        let Some(fact) = fact else {
            inputs.push(None);
            continue;
        };
        let seed = 1 + i as u64;
        if let Some(weight) = fact.weight() {
            constant.push(i);
            let count: usize = weight.shape().iter().product();
            if count <= KEPT || !fact.dtype.is_float() {
                inputs.push(Some(corner(&weight.load()?, shape)?));
                continue;
            }
        }
        inputs.push(Some(random(fact.dtype, shape, seed)?));
    }
    let given: Vec<Option<Fact>> = (inputs.iter().enumerate())
        .map(|(i, t)| {
            t.as_ref()
                .map(|t: &HostTensor| match constant.contains(&i) {
                    true => Fact::of(t.clone()),
                    false => Fact::sized(t.dtype(), t.shape()),
                })
        })
        .collect();
    let given: Vec<Option<&Fact>> = given.iter().map(Option::as_ref).collect();
    match op.infer(&given) {
        Ok(outputs) if op.work(&given, &outputs) <= WORK => {}
        _ => return Ok(None),
    }
    let case = Case::with_optional("cut from the model", op.clone(), inputs);
    Ok(Some(case.constant(&constant)))
}

/// The first elements along every axis.
fn corner(tensor: &HostTensor, shape: &[usize]) -> Result<HostTensor> {
    let whole = tensor.shape().to_vec();
    if whole == shape {
        return Ok(tensor.clone());
    }
    let count: usize = shape.iter().product();
    let offset = |mut at: usize| {
        let (mut offset, mut step) = (0, 1);
        for axis in (0..shape.len()).rev() {
            offset += at % shape[axis] * step;
            at /= shape[axis];
            step *= whole[axis];
        }
        offset
    };
    Ok(tensor.select(shape.to_vec(), (0..count).map(offset))?)
}

/// Floats in -1..1, bytes of all values, other integers 0 or 1, as indices are among them.
fn random(dtype: DType, shape: &[usize], seed: u64) -> Result<HostTensor> {
    Ok(match dtype {
        DType::F32 => samples::uniform(shape, seed),
        dtype if dtype.is_float() => samples::uniform(shape, seed).cast(dtype)?,
        DType::I8 => samples::integers(dtype, shape, seed, -128, 128),
        DType::U8 => samples::integers(dtype, shape, seed, 0, 256),
        dtype => samples::integers(dtype, shape, seed, 0, 2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_extents_keep_their_rest_to_four() {
        let shape = [1000, 57, 1001, 131, 58, 3, 514];
        assert_eq!(cut(&shape, [12, 132]), [132, 13, 13, 15, 14, 3, 134]);
        assert_eq!(cut(&shape, [usize::MAX; 2]), shape);
        assert_eq!(cut(&[133], [12, 132]), [133]);
        assert_eq!(cut(&[], [12, 132]), [0; 0]);
    }

    #[test]
    fn a_corner_is_the_beginning_of_every_axis() {
        let t = samples::of(&[2, 3, 2], &(0..12).collect::<Vec<i32>>());
        let cut = corner(&t, &[2, 2, 1]).unwrap();
        assert_eq!(cut, samples::of(&[2, 2, 1], &[0, 2, 6, 8]));
    }
}
