//! Weights that a model fills with one value instead of holding them.

use super::{Visit, rewrite};
use crate::{Graph, Op, Result, Value};

/// Makes constants of tensors filled with one value that a product or convolution reads, so that they are packed and placed
/// like weights. Together they may take `most` bytes; what is over is filled in every run.
pub fn weights(graph: &Graph, most: u64) -> Result<Graph> {
    let fills = |op: &Op| matches!(op, Op::ConstantOfShape(_));
    if !graph.nodes().iter().any(|node| fills(&node.op)) {
        return Ok(graph.clone());
    }
    let users = graph.users();
    let mut left = most;
    rewrite(graph, |visit, new| {
        let (node, output) = (visit.index, 0);
        let readers = users.get(&Value { node, output }).into_iter().flatten();
        let mut readers = readers.map(|&i| &graph.nodes()[i as usize].op);
        if fills(&visit.node.op) && readers.any(is_weighted) {
            return filled(visit, new, &mut left);
        }
        Ok(None)
    })
}

/// True for operators that pack constant weights.
fn is_weighted(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) | Op::MatMul(_)
    )
}

/// The value of a tensor filled with one value, if its shape is constant and there is room for it.
fn filled(visit: &Visit<'_>, new: &mut Graph, left: &mut u64) -> Result<Option<Vec<Value>>> {
    let shape = visit.inputs.first().copied().flatten();
    let shape = shape.map_or(Ok(None), |v| new.constant_of(v))?;
    let fact = visit.node.outputs.first().and_then(Option::as_ref);
    let (Some(shape), Some(fact)) = (shape, fact) else {
        return Ok(None);
    };
    let Some(rest) = left.checked_sub(fact.bytes()) else {
        return Ok(None);
    };
    *left = rest;
    let tensors = visit.node.op.reference(&[Some(&shape)])?;
    Ok(Some(tensors.into_iter().map(|t| new.constant(t)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{ConstantOfShape, MatMul};
    use crate::{Fact, Weight};
    use tilewright_tensor::{DType, HostTensor};

    #[test]
    fn filled_weights_are_constants_where_there_is_room() {
        let mut graph = Graph::new();
        let fact = Fact::sized(DType::F32, &[2, 200]);
        let x = graph.input("x", Some(fact)).unwrap();
        let shape = graph.ints(&[200, 300]).unwrap();
        let value = HostTensor::scalar(0.5f32);
        let w = graph.add1(ConstantOfShape { value }, &[shape]).unwrap();
        let y = graph.add1(MatMul, &[x, w]).unwrap();
        graph.output("y", y);
        graph.output("w", w);
        let held = |most| {
            let after = weights(&graph, most).unwrap();
            after.weight_of(after.outputs()[1].1).map(Weight::len)
        };
        assert_eq!(held(240_000), Some(60_000));
        assert_eq!(held(239_999), None);
    }
}
