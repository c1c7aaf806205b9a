//! What stays between floats and narrow integers: constants, and pointwise functions that fuse.

use crate::graph::evaluated;
use crate::lower::is_stored;
use crate::ops::{Binary, Cast, Clip, DequantizeLinear, Granularity, QuantizeLinear, Unary};
use crate::passes::Visit;
use crate::{Graph, Result, Value, Weight};
use tilewright_tensor::DType;

/// A constant, or pointwise functions.
pub(super) fn dequantised(
    visit: &Visit<'_>,
    new: &mut Graph,
    op: &DequantizeLinear,
) -> Result<Option<Vec<Value>>> {
    let constants: Option<Vec<Option<&Weight>>> = (visit.inputs.iter())
        .map(|v| v.map_or(Some(None), |v| new.weight_of(v).map(Some)))
        .collect();
    if let Some(constants) = constants {
        let folded = evaluated(&visit.node.op, &constants)?;
        return Ok(Some(folded.into_iter().map(|t| new.constant(t)).collect()));
    }
    let to = op.output.unwrap_or(DType::F32);
    if !matches!(to, DType::F32 | DType::F16) {
        return Ok(None);
    }
    let Some(mut parts) = Parameters::new(visit, new, op.granularity)? else {
        return Ok(None);
    };
    let x = new.add1(Cast { to: DType::F32 }, &[parts.x])?;
    let centred = match parts.zero.take() {
        Some(zero) => new.add1(Binary::new("Sub")?, &[x, zero])?,
        None => x,
    };
    let inputs = [Some(centred), Some(parts.scale)];
    let name = &visit.node.name;
    let scaled = new.add_node(Binary::new("Mul")?.into(), &inputs, name, 1)?;
    if to == DType::F32 {
        return Ok(Some(scaled));
    }
    new.add(Cast { to }, &scaled).map(Some)
}

pub(super) fn as_pointwise(
    visit: &Visit<'_>,
    new: &mut Graph,
    op: &QuantizeLinear,
) -> Result<Option<Vec<Value>>> {
    let to = visit.node.outputs[0].as_ref().map(|f| f.dtype);
    let from = visit.inputs[0].and_then(|v| new.fact(v)).map(|f| f.dtype);
    let plain = from == Some(DType::F32) && single(op.precision);
    let (Some(to), true) = (to.filter(|&to| is_stored(to)), plain) else {
        return Ok(None);
    };
    let Some(parts) = Parameters::new(visit, new, op.granularity)? else {
        return Ok(None);
    };
    let quotient = new.add1(Binary::new("Div")?, &[parts.x, parts.scale])?;
    let mut y = new.add1(Unary::new("Round")?, &[quotient])?;
    if let Some(zero) = parts.zero {
        y = new.add1(Binary::new("Add")?, &[y, zero])?;
    }
    let (low, high) = to.range();
    let (low, high) = (new.scalar(DType::F32, low)?, new.scalar(DType::F32, high)?);
    let clipped = new.add1(Clip, &[y, low, high])?;
    let inputs = [Some(clipped)];
    let name = &visit.node.name;
    new.add_node(Cast { to }.into(), &inputs, name, 1).map(Some)
}

/// True for f32, which is also what an f32 scale stands for where nothing is said.
pub(super) fn single(dtype: Option<DType>) -> bool {
    dtype.is_none_or(|d| d == DType::F32)
}

/// Constant f32 scale and zero point, shaped to broadcast against x; a zero point of zeros is left out.
struct Parameters {
    x: Value,
    scale: Value,
    zero: Option<Value>,
}

impl Parameters {
    fn new(visit: &Visit<'_>, new: &mut Graph, of: Granularity) -> Result<Option<Parameters>> {
        let Some(x) = visit.inputs[0] else {
            return Ok(None);
        };
        let constant = |new: &Graph, i: usize| {
            let v = visit.inputs.get(i).copied().flatten();
            v.map_or(Ok(None), |v| new.constant_of(v))
        };
        let Some(scale) = constant(new, 1)?.filter(|s| s.dtype() == DType::F32) else {
            return Ok(None);
        };
        let has_zero = visit.inputs.get(2).is_some_and(Option::is_some);
        let zero = constant(new, 2)?;
        if of.block_size != 0 || (has_zero && zero.is_none()) {
            return Ok(None);
        }
        // A late tensor has no rank to shape scales for.
        let Some((rank, dtype)) = new.fact(x).map(|f| (f.rank(), f.dtype)) else {
            return Ok(None);
        };
        if !is_stored(dtype) {
            return Ok(None);
        }
        let mut shape = vec![];
        if scale.len() != 1 {
            let axis = crate::fact::axis_index("QuantizeLinear", of.axis, rank)?;
            shape = vec![1; rank - axis];
            shape[0] = scale.len();
        }
        let zero = zero.filter(|z| z.to_f64().iter().any(|&z| z != 0.0));
        let zero = match zero {
            Some(z) => Some(new.constant(z.cast(DType::F32)?.reshape(&shape[..])?)),
            None => None,
        };
        let scale = new.constant(scale.reshape(&shape[..])?);
        Ok(Some(Parameters { x, scale, zero }))
    }
}
