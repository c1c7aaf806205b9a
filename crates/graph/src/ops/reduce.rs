//! Reductions: sum, mean, max, min, product, L1, L2, log-sum, log-sum-exp and sum of squares along axes.

use crate::blocks::Blocks;
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values};
use crate::lower::{Lower, Place, Placing, is_stored};
use crate::op::{Case, Operand, Operator};
use crate::ops::groups::{Groups, axis_indices, from_integers, integers};
use crate::{Attrs, Error, Fact, Result};
use tilewright_kernels::{self as kernels, Store, View};
use tilewright_tensor::{DType, HostTensor, Shape};

mod cases;

/// What a reduction makes of a group of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// The sum; 0 of nothing.
    Sum,
    /// The mean; integers truncate; NaN (integers: 0) of nothing.
    Mean,
    /// The largest, NaN if one is; the type's smallest value (-inf for floats) of nothing.
    Max,
    /// The smallest, NaN if one is; the type's largest value (+inf for floats) of nothing.
    Min,
    /// The product; 1 of nothing.
    Prod,
    /// The sum of absolute values.
    L1,
    /// The root of the sum of squares.
    L2,
    /// The logarithm of the sum.
    LogSum,
    /// The logarithm of the sum of exponentials.
    LogSumExp,
    /// The sum of squares.
    SumSquare,
}

/// ONNX names and what they mean.
const ROWS: [(&str, Reduction); 10] = [
    ("ReduceSum", Reduction::Sum),
    ("ReduceMean", Reduction::Mean),
    ("ReduceMax", Reduction::Max),
    ("ReduceMin", Reduction::Min),
    ("ReduceProd", Reduction::Prod),
    ("ReduceL1", Reduction::L1),
    ("ReduceL2", Reduction::L2),
    ("ReduceLogSum", Reduction::LogSum),
    ("ReduceLogSumExp", Reduction::LogSumExp),
    ("ReduceSumSquare", Reduction::SumSquare),
];

impl Reduction {
    /// The result for floats.
    pub(crate) fn of_floats(self, x: impl Iterator<Item = f64> + Clone) -> f64 {
        let sum = |x: &mut dyn Iterator<Item = f64>| x.fold(0.0, |a, b| a + b);
        let pick = |start: f64, keep: fn(f64, f64) -> bool| {
            x.clone()
                .fold(start, |a, b| if a.is_nan() || keep(a, b) { a } else { b })
        };
        match self {
            Reduction::Sum => sum(&mut x.clone()),
            Reduction::Mean => sum(&mut x.clone()) / x.count() as f64,
            // A NaN is neither smaller nor larger, so it is taken, and kept.
            Reduction::Max => pick(f64::NEG_INFINITY, |a, b| b <= a),
            Reduction::Min => pick(f64::INFINITY, |a, b| b >= a),
            Reduction::Prod => x.fold(1.0, |a, b| a * b),
            Reduction::L1 => sum(&mut x.map(f64::abs)),
            Reduction::L2 => sum(&mut x.map(|v| v * v)).sqrt(),
            Reduction::LogSum => sum(&mut x.clone()).ln(),
            Reduction::LogSumExp => {
                // Exponentials relative to the largest cannot overflow; infinities come out right without.
                let max = x.clone().fold(f64::NEG_INFINITY, f64::max);
                let shift = if max.is_finite() { max } else { 0.0 };
                sum(&mut x.map(|v| (v - shift).exp())).ln() + shift
            }
            Reduction::SumSquare => sum(&mut x.map(|v| v * v)),
        }
    }

    /// The result for integers of type `dtype`, before it wraps.
    fn of_integers(self, dtype: DType, x: impl Iterator<Item = i128> + Clone) -> i128 {
        let sum = |x: &mut dyn Iterator<Item = i128>| x.fold(0i128, i128::wrapping_add);
        let (low, high) = dtype.int_range().unwrap_or_default();
        match self {
            Reduction::Sum => sum(&mut x.clone()),
            Reduction::Mean => {
                let n = x.clone().count() as i128;
                sum(&mut x.clone()).checked_div(n).unwrap_or(0)
            }
            Reduction::Max => x.fold(low, i128::max),
            Reduction::Min => x.fold(high, i128::min),
            Reduction::Prod => x.fold(1, i128::wrapping_mul),
            Reduction::L1 => sum(&mut x.map(i128::abs)),
            Reduction::SumSquare => sum(&mut x.map(|v| v.wrapping_mul(v))),
            Reduction::L2 | Reduction::LogSum | Reduction::LogSumExp => {
                self.of_floats(x.map(|v| v as f64)) as i128
            }
        }
    }

    /// The kernel's name for it.
    fn kernel(self) -> kernels::Reduction {
        match self {
            Reduction::Sum => kernels::Reduction::Sum,
            Reduction::Mean => kernels::Reduction::Mean,
            Reduction::Max => kernels::Reduction::Max,
            Reduction::Min => kernels::Reduction::Min,
            Reduction::Prod => kernels::Reduction::Prod,
            Reduction::L1 => kernels::Reduction::L1,
            Reduction::L2 => kernels::Reduction::L2,
            Reduction::LogSum => kernels::Reduction::LogSum,
            Reduction::LogSumExp => kernels::Reduction::LogSumExp,
            Reduction::SumSquare => kernels::Reduction::SumSquare,
        }
    }

    /// The result for symbolic sizes, where there is one.
    fn of_dims(self, dims: &[Dim]) -> Option<Dim> {
        let fold = |f: fn(Dim, Dim) -> Dim| dims.iter().cloned().reduce(f);
        match self {
            Reduction::Sum => fold(|a, b| a + b),
            Reduction::Prod => fold(|a, b| a * b),
            Reduction::Max => fold(|a, b| a.larger(&b)),
            Reduction::Min => fold(|a, b| a.smaller(&b)),
            _ => None,
        }
    }
}

/// ONNX ReduceSum-13, ReduceMean-18, ReduceMax-20, ReduceMin-20, ReduceProd-18, ReduceL1-18, ReduceL2-18,
/// ReduceLogSum-18, ReduceLogSumExp-18, ReduceSumSquare-18: input 1 (optional) holds the axes.
#[derive(Clone, Debug)]
pub struct Reduce {
    /// What is computed.
    pub kind: Reduction,
    /// Reduced axes stay, with size 1.
    pub keep_dims: bool,
    /// No axes means none instead of all.
    pub noop_with_empty_axes: bool,
}

impl Reduce {
    /// A reduction that keeps reduced axes.
    pub fn new(kind: Reduction) -> Reduce {
        Reduce {
            kind,
            keep_dims: true,
            noop_with_empty_axes: false,
        }
    }

    /// The reduced axes, in order.
    fn axes(&self, given: Option<Vec<i64>>, rank: usize) -> Result<Vec<usize>> {
        match given {
            Some(axes) if !axes.is_empty() => axis_indices(self.name(), &axes, rank),
            _ if self.noop_with_empty_axes => Ok(vec![]),
            _ => Ok((0..rank).collect()),
        }
    }
}

/// The shape after reducing `axes`.
pub(crate) fn reduced<T: Clone>(shape: &[T], axes: &[usize], keep: bool, one: &T) -> Vec<T> {
    let sizes = shape.iter().enumerate();
    sizes
        .filter(|(a, _)| keep || !axes.contains(a))
        .map(|(a, n)| if axes.contains(&a) { one } else { n }.clone())
        .collect()
}

impl Operator for Reduce {
    const NAMES: &'static [&'static str] = &[
        ROWS[0].0, ROWS[1].0, ROWS[2].0, ROWS[3].0, ROWS[4].0, ROWS[5].0, ROWS[6].0, ROWS[7].0,
        ROWS[8].0, ROWS[9].0,
    ];

    fn name(&self) -> &'static str {
        let row = ROWS.iter().find(|row| row.1 == self.kind);
        row.map_or(Self::NAMES[0], |row| row.0)
    }

    fn attrs(&self) -> Attrs {
        Attrs::new(self.name())
            .with("keepdims", self.keep_dims)
            .with("noop_with_empty_axes", self.noop_with_empty_axes)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        let row = ROWS.iter().find(|row| row.0 == name);
        let (_, kind) = row.ok_or_else(|| Error::UnknownOp { name: name.into() })?;
        Ok(Reduce {
            kind: *kind,
            keep_dims: attrs.or("keepdims", true)?,
            noop_with_empty_axes: attrs.or("noop_with_empty_axes", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let axes = self.axes(inputs.opt_ints(1)?, data.rank())?;
        let shape = reduced(&data.shape, &axes, self.keep_dims, &1i64.into());
        // Sizes are followed through a reduction of all elements: the number of elements of a shape, say.
        if !data.dtype.is_float()
            && axes.len() == data.rank()
            && let Some(size) = data.dims().and_then(|dims| self.kind.of_dims(&dims))
        {
            return Ok(vec![Fact::of_dims(
                data.dtype,
                &vec![1; shape.len()],
                vec![size],
            )]);
        }
        let fact = Fact::new(data.dtype, shape);
        Ok(vec![match self.range(data, &axes) {
            Some((low, high)) => fact.with_range(low, high),
            None => fact,
        }])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let axes = self.axes(inputs.opt_ints(1)?, data.rank())?;
        let shape = Shape::new(reduced(data.shape(), &axes, self.keep_dims, &1));
        let groups = Groups::new(data.shape(), &axes);
        if data.dtype().is_float() {
            let x = data.to_f64();
            let values = groups.iter().map(|g| self.kind.of_floats(g.map(|i| x[i])));
            let values = values.collect();
            return Ok(vec![HostTensor::from_f64(data.dtype(), shape, values)?]);
        }
        let x = integers(data)?;
        let values = (groups.iter())
            .map(|g| self.kind.of_integers(data.dtype(), g.map(|i| x[i])))
            .collect();
        Ok(vec![from_integers(data.dtype(), shape, values)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        let Some(data) = cx.inputs.opt(0) else {
            return cx.by_storage();
        };
        match self.why_not(data) {
            Some(why) => Place::host(why),
            None => cx.by_storage_of(&[0]),
        }
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        let rank = cx.inputs.opt(0).map_or(0, Fact::rank);
        let given = cx.inputs.opt(1).map(Fact::ints);
        let axes = match given {
            Some(None) => return Blocks::none(),
            given => self.axes(given.flatten(), rank),
        };
        match axes {
            Ok(axes) => Blocks::leading(axes.into_iter().min().unwrap_or(rank)),
            Err(_) => Blocks::none(),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let x = cx.input(0)?;
        let axes = self.axes(cx.opt_ints(1)?, x.shape.len())?;
        let of_none = match x.store {
            Store::F32 | Store::F16 => (self.kind.of_floats(std::iter::empty()) as f32).to_bits(),
            _ => {
                let dtype = cx.input_dtype(0).unwrap_or(DType::I32);
                self.kind.of_integers(dtype, std::iter::empty()) as u32
            }
        };
        emit(cx, &axes, self.kind.kernel(), of_none)
    }

    fn ends(&self) -> bool {
        true
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        cases::cases()
    }
}

/// Emits the reduction of input 0 to output 0; `of_none` has the bits of the result of no elements.
pub(crate) fn emit(
    cx: &mut Lower<'_>,
    axes: &[usize],
    kind: kernels::Reduction,
    of_none: u32,
) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if x.elements() == 0 {
        return emit_fill(cx, &y, of_none);
    }
    let bytes = kernels::reduce_scratch(cx.caps(), &x.shape, axes);
    let scratch = (bytes > 0).then(|| cx.scratch(Store::U32, [bytes as usize / 4]));
    let scratch = scratch.as_ref();
    cx.emit_ended(kernels::reduce(cx.caps(), &x, axes, &y, kind, scratch)?)
}

/// Emits what reducing no elements gives, and what was fused to the node.
fn emit_fill(cx: &mut Lower<'_>, y: &View, of_none: u32) -> Result<()> {
    let Some((function, mut operands)) = cx.epilogue.take() else {
        cx.emit(kernels::fill(cx.caps(), y, of_none)?);
        return Ok(());
    };
    let filled = cx.scratch(y.store, y.shape.clone());
    cx.emit(kernels::fill(cx.caps(), &filled, of_none)?);
    operands.insert(0, filled);
    cx.emit(kernels::map(cx.caps(), &function, &operands, y)?);
    Ok(())
}

impl Reduce {
    /// Why the device cannot do it, if so: integers there have 32 bits, and floats are not exact.
    fn why_not(&self, data: &Fact) -> Option<String> {
        use Reduction::*;
        let dtype = data.dtype;
        if dtype.is_float() || !is_stored(dtype) {
            return None;
        }
        let empty = || data.shape.iter().any(|n| n.known() == Some(0));
        match self.kind {
            // The bounds of int64, which nothing reduces to, are not there.
            Max | Min if dtype == DType::I64 && empty() => Some("int64 of no elements".into()),
            Max | Min => None,
            L2 | LogSum | LogSumExp => Some(format!("{dtype} in floating point")),
            // int32 and uint32 wrap as on the device.
            Sum | Prod | L1 | SumSquare if matches!(dtype, DType::I32 | DType::U32) => None,
            Sum | Mean if self.sum_fits(data) => None,
            _ => Some(format!("{dtype} may pass 32 bits")),
        }
    }

    /// Whether the sum of all elements certainly fits i32.
    fn sum_fits(&self, data: &Fact) -> bool {
        let Some((low, high)) = data.range() else {
            return false;
        };
        let n = data.elements().known();
        let fits = |v: i64| {
            n.and_then(|n| v.checked_mul(n))
                .is_some_and(|v| i32::try_from(v).is_ok())
        };
        fits(low) && fits(high)
    }

    /// Bounds on integer results that follow from bounds on the elements.
    fn range(&self, data: &Fact, axes: &[usize]) -> Option<(i64, i64)> {
        let (low, high) = data.range()?;
        let sizes = axes.iter().map(|&a| data.shape[a].known());
        let n = (sizes.collect::<Option<Vec<_>>>())
            .and_then(|n| n.iter().try_fold(1i64, |n, &size| n.checked_mul(size)));
        match (self.kind, n) {
            // Nothing gives the bounds of the type.
            (_, Some(0) | None) => None,
            (Reduction::Max | Reduction::Min | Reduction::Mean, _) => Some((low, high)),
            (Reduction::Sum, Some(n)) => Some((low.checked_mul(n)?, high.checked_mul(n)?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, Graph, samples};

    fn run(kind: Reduction, x: HostTensor, axes: &[i64]) -> HostTensor {
        let axes = samples::ints(axes);
        let inputs = [Some(&x), Some(&axes)];
        let inputs = Tensors::new("Reduce", &inputs);
        Reduce::new(kind).reference(inputs).unwrap().remove(0)
    }

    #[test]
    fn nothing_reduces_to_what_the_specification_says() {
        let none =
            |kind, dtype| run(kind, HostTensor::zeros(dtype, [0]).unwrap(), &[0]).to_f64()[0];
        assert_eq!(none(Reduction::Sum, DType::F32), 0.0);
        assert_eq!(none(Reduction::Prod, DType::I32), 1.0);
        assert_eq!(none(Reduction::Max, DType::F32), f64::NEG_INFINITY);
        assert_eq!(none(Reduction::Min, DType::F16), f64::INFINITY);
        assert_eq!(none(Reduction::Max, DType::I8), -128.0);
        assert_eq!(none(Reduction::Min, DType::Bool), 1.0);
        assert_eq!(none(Reduction::LogSumExp, DType::F32), f64::NEG_INFINITY);
        assert!(none(Reduction::Mean, DType::F32).is_nan());
    }

    #[test]
    fn integers_wrap_and_truncate() {
        let x = samples::of(&[2], &[i32::MAX, 2]);
        assert_eq!(
            run(Reduction::Sum, x, &[0]).to_i64().unwrap(),
            [i64::from(i32::MIN) + 1]
        );
        let x = samples::of(&[3], &[-1i64, -1, -3]);
        assert_eq!(run(Reduction::Mean, x, &[0]).to_i64().unwrap(), [-1]);
    }

    #[test]
    fn sizes_are_followed_through_a_product() {
        let mut graph = Graph::new();
        let dims = vec![Dim::symbol("n"), 3i64.into()];
        let fact = Fact::of_dims(DType::I64, &[2], dims);
        let x = graph.input("x", Some(fact)).unwrap();
        let y = graph.add1(Reduce::new(Reduction::Prod), &[x]).unwrap();
        let dims = graph.fact(y).unwrap().dims().unwrap();
        assert_eq!(dims, [Dim::symbol("n") * 3i64.into()]);
    }
}
