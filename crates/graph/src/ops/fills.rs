//! Tensors made from little: ConstantOfShape, EyeLike and Range.

use super::moving::{LONGEST, place, word};
use crate::attrs::dtype_code;
use crate::dim::Dim;
use crate::fact::{Facts, MAX_FOLLOWED, Tensors, Values};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{eye, fill, range};
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX ConstantOfShape-25: one value in the shape that input 0 holds.
#[derive(Clone, Debug)]
pub struct ConstantOfShape {
    /// A scalar: the value and its type. ONNX's default is 0 in f32.
    pub value: HostTensor,
}

impl Operator for ConstantOfShape {
    const NAMES: &'static [&'static str] = &["ConstantOfShape"];

    fn attrs(&self) -> Attrs {
        Attrs::new("ConstantOfShape").with("value", self.value.clone())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let value = attrs.or("value", HostTensor::scalar(0f32))?;
        if value.len() != 1 {
            let what = format!("the value has shape {}, not one element", value.shape());
            return Err(Error::op("ConstantOfShape", what));
        }
        Ok(ConstantOfShape {
            value: value.reshape([])?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let fact = Fact::new(self.value.dtype(), inputs.dims(0)?);
        let value = Fact::of(self.value.clone()).range();
        Ok(vec![match value {
            Some((low, high)) => fact.with_range(low, high),
            None => fact,
        }])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let shape = Shape::from_i64(&inputs.ints(0)?)?;
        let count = shape.elements()?;
        let zeros = self.value.bytes().iter().all(|b| *b == 0);
        Ok(vec![if zeros {
            HostTensor::zeros(self.value.dtype(), shape)?
        } else {
            self.value.select(shape, std::iter::repeat_n(0, count))?
        }])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let dispatches = fill(cx.caps(), &cx.output(0)?, word(&self.value)?)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, value: HostTensor, shape: &[i64]| {
            let op = ConstantOfShape { value };
            Case::new(name, op, vec![samples::ints(shape)])
        };
        vec![
            case("zeros", HostTensor::scalar(0f32), &[3, 5]).constant(&[0]),
            case("integers", HostTensor::scalar(-7i64), &[2, 3]).constant(&[0]),
            case("true", HostTensor::scalar(true), &[9]).constant(&[0]),
            case("scalar", HostTensor::scalar(2f32), &[]).constant(&[0]),
            case("nothing", HostTensor::scalar(2f32), &[3, 0]).constant(&[0]),
            case("large", HostTensor::scalar(-7i64), &[200, 100]).constant(&[0]),
            case("large booleans", HostTensor::scalar(true), &[70_001]).constant(&[0]),
            case("run-time shape", HostTensor::scalar(2.5f64), &[2, 2]),
        ]
    }
}

/// ONNX EyeLike-22: ones on a diagonal of a matrix shaped like the input, zeros elsewhere.
#[derive(Clone, Debug)]
pub struct EyeLike {
    /// Type of the output; none for the input's.
    pub dtype: Option<DType>,
    /// The diagonal: `out[i, i + k] = 1`.
    pub k: i64,
}

impl Operator for EyeLike {
    const NAMES: &'static [&'static str] = &["EyeLike"];

    fn attrs(&self) -> Attrs {
        let dtype = self.dtype.map(dtype_code);
        Attrs::new("EyeLike")
            .with_opt("dtype", dtype)
            .with("k", self.k)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(EyeLike {
            dtype: attrs.opt("dtype")?,
            k: attrs.or("k", 0)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        if x.rank() != 2 {
            return Err(inputs.error(format!("needs a matrix, got {x}")));
        }
        let dtype = self.dtype.unwrap_or(x.dtype);
        Ok(vec![Fact::new(dtype, x.shape.clone()).with_range(0, 1)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let [rows, columns] = x.shape()[..] else {
            return Err(inputs.error(format!("needs a matrix, got shape {}", x.shape())));
        };
        let one = |i: usize| {
            let (row, column) = (i / columns, i % columns);
            i64::from((row as i64).checked_add(self.k) == Some(column as i64))
        };
        let values = (0..rows * columns).map(one).collect();
        let dtype = self.dtype.unwrap_or(x.dtype());
        Ok(vec![HostTensor::from_i64(dtype, [rows, columns], values)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let y = cx.output(0)?;
        let dtype = cx.output_dtype(0).unwrap_or(DType::F32);
        let one = word(&HostTensor::from_i64(dtype, [], vec![1])?)?;
        let dispatches = eye(cx.caps(), self.k, one, &y)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn cases() -> Vec<Case> {
        let x = |rows, columns| vec![samples::uniform(&[rows, columns], 1)];
        let case = |dtype, k, x| Case::new(&format!("{dtype:?} by {k}"), EyeLike { dtype, k }, x);
        vec![
            case(None, 0, x(4, 4)),
            case(None, 2, x(3, 7)),
            case(Some(DType::I64), -1, x(7, 3)),
            case(Some(DType::Bool), 9, x(3, 3)),
            case(Some(DType::F64), 1, x(3, 3)),
            case(None, 0, x(0, 3)),
        ]
    }
}

/// ONNX Range-27: `start`, `start + delta`, and so on up to but without `limit`. Values are computed in f64 (integers
/// exactly) and rounded once, which is what `stash_type` asks of the 16-bit types and better.
#[derive(Clone, Debug)]
pub struct Range;

impl Range {
    /// Number of elements of a range of integers.
    fn count(start: &Dim, limit: &Dim, delta: i64) -> Dim {
        let span = if delta > 0 {
            limit.clone() - start.clone()
        } else {
            start.clone() - limit.clone()
        };
        let by = Dim::from(delta.checked_abs().unwrap_or(i64::MAX));
        span.ceil_div(&by).larger(&0i64.into())
    }

    /// Number of elements of a range of floats.
    fn float_count(start: f64, limit: f64, delta: f64) -> usize {
        // The cast saturates, and takes NaN (0 by 0) as 0.
        ((limit - start) / delta).ceil().max(0.0) as usize
    }

    fn whole(inputs: Facts<'_>, dtype: DType) -> Result<Fact> {
        let one = |i| {
            let dims = inputs.dims(i)?;
            let what = || inputs.error(format!("input {i} must be a scalar"));
            dims.into_iter().next().ok_or_else(what)
        };
        let (start, limit, delta) = (one(0)?, one(1)?, one(2)?);
        let Some(step) = delta.known() else {
            let (op, input) = ("Range", 2);
            return Err(Error::NeedsValue { op, input });
        };
        if step == 0 {
            return Err(inputs.error("delta is 0"));
        }
        let count = Range::count(&start, &limit, step);
        if let Some(n) = count.known().filter(|&n| n <= MAX_FOLLOWED as i64) {
            let values = (0..n).map(|i| start.clone() + (step.saturating_mul(i)).into());
            return Ok(Fact::of_dims(dtype, &[n as usize], values.collect()));
        }
        let fact = Fact::new(dtype, [count.clone()]);
        let far = start.known().map(|s| {
            let steps = count.known().unwrap_or(LONGEST) - 1;
            let last = s.saturating_add(step.saturating_mul(steps));
            (s.min(last), s.max(last))
        });
        Ok(match far {
            Some((low, high)) => fact.with_range(low, high),
            None => fact,
        })
    }
}

impl Operator for Range {
    const NAMES: &'static [&'static str] = &["Range"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Range")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Range)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let dtype = inputs.req(0)?.dtype;
        if (1..3).any(|i| inputs.opt(i).is_none_or(|f| f.dtype != dtype)) {
            return Err(inputs.error("start, limit and delta must be given and of one type"));
        }
        if !dtype.is_float() {
            return Ok(vec![Range::whole(inputs, dtype)?]);
        }
        let one = |i| match inputs.opt_floats(i)?.as_deref() {
            Some([v]) => Ok(*v),
            _ => Err(inputs.error(format!("input {i} must be a scalar"))),
        };
        let count = Range::float_count(one(0)?, one(1)?, one(2)?);
        Ok(vec![Fact::sized(dtype, &[count])])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let dtype = inputs.req(0)?.dtype();
        let scalars: Vec<&HostTensor> = inputs.all()?;
        if scalars.len() != 3 || scalars.iter().any(|t| t.len() != 1 || t.dtype() != dtype) {
            return Err(inputs.error("start, limit and delta must be scalars of one type"));
        }
        if dtype.is_float() {
            let [start, limit, delta] = [0, 1, 2].map(|i: usize| scalars[i].to_f64()[0]);
            let count = Range::float_count(start, limit, delta);
            // An endless range must fail by its size, not by running out of memory.
            HostTensor::zeros(dtype, [count])?;
            let values = (0..count).map(|i| start + i as f64 * delta).collect();
            return Ok(vec![HostTensor::from_f64(dtype, [count], values)?]);
        }
        let mut v = [0i64; 3];
        for (value, tensor) in v.iter_mut().zip(scalars) {
            *value = tensor.to_i64()?[0];
        }
        let [start, limit, delta] = v.map(i128::from);
        if delta == 0 {
            return Err(inputs.error("delta is 0"));
        }
        let span = if delta > 0 {
            limit - start
        } else {
            start - limit
        };
        let count = (span.max(0) as u128).div_ceil(delta.unsigned_abs());
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        HostTensor::zeros(dtype, [count])?;
        let values = (0..count as i128).map(|i| (start + i * delta) as i64);
        Ok(vec![HostTensor::from_i64(
            dtype,
            [count],
            values.collect(),
        )?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        let known = |i| {
            let fact = cx.inputs.opt(i);
            fact.is_some_and(|f| f.constant().is_some() || f.is_symbolic())
        };
        // A 64-bit range must be proven to stay within the device's 32 bits.
        let fits = |f: &Fact| {
            let whole = !f.dtype.is_float();
            let narrow = |n| i32::try_from(n).is_ok();
            !whole
                || f.range()
                    .is_some_and(|(low, high)| narrow(low) && narrow(high))
        };
        if !known(0) || !known(2) {
            return Place::host("start and delta come from a run");
        }
        match cx.outputs.iter().all(fits) {
            true => place(cx, &[]),
            false => Place::host("integers may pass 32 bits"),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let one = |i: usize| match cx.constant(i)? {
            Some(t) => word(&t),
            None => Err(cx.error(format!("input {i} is not known"))),
        };
        let dispatches = range(cx.caps(), one(0)?, one(2)?, &cx.output(0)?)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, dtype: DType, bounds: [f64; 3]| {
            let scalar = |v: f64| HostTensor::from_f64(dtype, vec![], vec![v]);
            let inputs = bounds.map(|v| scalar(v).expect("a scalar always fits"));
            Case::new(name, Range, inputs.into()).constant(&[0, 1, 2])
        };
        let run_time = case("run-time", DType::I64, [2.0, 12.0, 3.0]).constant(&[]);
        vec![
            case("integers", DType::I64, [3.0, 9.0, 3.0]),
            case("down", DType::I32, [10.0, 4.0, -2.0]),
            case("empty", DType::I64, [5.0, 5.0, 1.0]),
            case("i16", DType::I16, [-7.0, 5.0, 5.0]),
            case("floats", DType::F32, [1.0, 5.0, 0.75]),
            case("floats down", DType::F32, [1.0, -5.0, -0.3]),
            case("f16", DType::F16, [0.0, 40.0, 0.1]),
            case("f64", DType::F64, [0.0, 1.0, 0.125]),
            case("many", DType::I64, [-9.0, 50_000.0, 3.0]),
            case("many floats", DType::F32, [1.0, 5_000.0, 0.25]),
            case("bf16", DType::BF16, [0.0, 9.0, 2.0]),
            case("backwards", DType::F32, [1.0, 0.0, 1.0]),
            run_time,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;

    #[test]
    fn a_range_to_a_symbol_has_its_length() {
        let mut g = Graph::new();
        let n = Dim::symbol("n");
        let x = g
            .input("x", Some(Fact::new(DType::F32, [n.clone()])))
            .unwrap();
        let limit = g.add1(super::super::Size, &[x]).unwrap();
        let start = g.scalar(DType::I64, 0.0).unwrap();
        let delta = g.scalar(DType::I64, 1.0).unwrap();
        let y = g.add1(Range, &[start, limit, delta]).unwrap();
        assert_eq!(g.fact(y).unwrap().shape, [n]);
        assert_eq!(g.fact(y).unwrap().range(), Some((0, LONGEST - 1)));
        let up = g.add1(Range, &[limit, start, delta]);
        assert_eq!(g.fact(up.unwrap()).unwrap().shape, [0i64.into()]);
    }
}
