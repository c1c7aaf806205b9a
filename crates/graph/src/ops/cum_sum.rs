//! CumSum, CumProd: running sums and products along an axis.

use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::ops::groups::{Groups, from_integers, integers};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels as kernels;
use tilewright_tensor::{DType, HostTensor};

/// ONNX CumSum-14 and CumProd-26: input 1 holds the axis.
#[derive(Clone, Debug)]
pub struct CumSum {
    /// Products instead of sums.
    pub product: bool,
    /// An element is not part of its own result.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

impl CumSum {
    /// The running results of one group, in the group's order.
    fn run<T: Copy>(&self, x: &[T], start: T, join: impl Fn(T, T) -> T) -> Vec<T> {
        let mut y = x.to_vec();
        let mut so_far = start;
        for step in 0..x.len() {
            let i = if self.reverse {
                x.len() - 1 - step
            } else {
                step
            };
            let next = join(so_far, x[i]);
            y[i] = if self.exclusive { so_far } else { next };
            so_far = next;
        }
        y
    }

    fn floats(&self, x: &[f64]) -> Vec<f64> {
        if self.product {
            self.run(x, 1.0, |a, b| a * b)
        } else {
            self.run(x, 0.0, |a, b| a + b)
        }
    }

    fn integers(&self, x: &[i128]) -> Vec<i128> {
        if self.product {
            self.run(x, 1, i128::wrapping_mul)
        } else {
            self.run(x, 0, i128::wrapping_add)
        }
    }
}

/// `f` of every group, put where the group's elements are.
fn by_group<T: Copy>(groups: &Groups, x: &[T], f: impl Fn(&[T]) -> Vec<T>) -> Vec<T> {
    let mut y = x.to_vec();
    for group in groups.iter() {
        let values: Vec<T> = group.clone().map(|i| x[i]).collect();
        for (i, v) in group.zip(f(&values)) {
            y[i] = v;
        }
    }
    y
}

impl Operator for CumSum {
    const NAMES: &'static [&'static str] = &["CumSum", "CumProd"];

    fn name(&self) -> &'static str {
        Self::NAMES[usize::from(self.product)]
    }

    fn attrs(&self) -> Attrs {
        Attrs::new(self.name())
            .with("exclusive", self.exclusive)
            .with("reverse", self.reverse)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        Ok(CumSum {
            product: name == Self::NAMES[1],
            exclusive: attrs.or("exclusive", false)?,
            reverse: attrs.or("reverse", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        // The shape does not depend on the axis, which may come late.
        if let Some(axis) = inputs.req(1)?.ints() {
            axis_index(self.name(), single(self.name(), &axis)?, x.rank())?;
        }
        let fact = Fact::new(x.dtype, x.shape.clone());
        Ok(vec![match sum_range(x).filter(|_| !self.product) {
            Some((low, high)) => fact.with_range(low, high),
            None => fact,
        }])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let axis = single(self.name(), &inputs.ints(1)?)?;
        let axis = axis_index(self.name(), axis, x.rank())?;
        let groups = Groups::new(x.shape(), &[axis]);
        let (dtype, shape) = (x.dtype(), x.shape().clone());
        if dtype.is_float() {
            let y = by_group(&groups, &x.to_f64(), |g| self.floats(g));
            return Ok(vec![HostTensor::from_f64(dtype, shape, y)?]);
        }
        let y = by_group(&groups, &integers(x)?, |g| self.integers(g));
        Ok(vec![from_integers(dtype, shape, y)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        if cx
            .inputs
            .opt(1)
            .is_none_or(|axis| axis.constant().is_none())
        {
            return Place::host("the axis is not constant");
        }
        let (x, y) = (cx.inputs.opt(0), cx.outputs.first());
        let fits = y.and_then(Fact::range).is_some_and(|(low, high)| {
            !self.product && i32::try_from(low).is_ok() && i32::try_from(high).is_ok()
        });
        match x.map(|x| x.dtype) {
            // These wrap as on the device.
            Some(DType::I32 | DType::U32) => cx.by_storage_of(&[0]),
            Some(dtype) if !dtype.is_float() && !fits => {
                Place::host(format!("{dtype} may pass 32 bits"))
            }
            _ => cx.by_storage_of(&[0]),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        if x.elements() == 0 {
            return Ok(());
        }
        let axis = single(self.name(), &cx.opt_ints(1)?.unwrap_or_default())?;
        let axis = axis_index(self.name(), axis, x.shape.len())?;
        let (product, exclusive, reverse) = (self.product, self.exclusive, self.reverse);
        let scan = kernels::scan(cx.caps(), &x, axis, &y, product, exclusive, reverse)?;
        cx.emit(scan);
        Ok(())
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for (product, exclusive, reverse) in [
            (false, false, false),
            (false, true, false),
            (false, false, true),
            (false, true, true),
            (true, false, false),
            (true, true, true),
        ] {
            let op = || CumSum {
                product,
                exclusive,
                reverse,
            };
            let mut case = |title: &str, x: HostTensor, axis: HostTensor, nmse| {
                let title = format!(
                    "{} {title} exclusive {exclusive} reverse {reverse}",
                    op().name()
                );
                out.push(
                    Case::new(&title, op(), vec![x, axis])
                        .constant(&[1])
                        .nmse(nmse),
                );
            };
            for axis in [0i64, 1, -1] {
                let x = samples::between(&[3, 5, 4], 1, 0.5, 1.5);
                case(&format!("axis {axis}"), x, HostTensor::scalar(axis), 1e-10);
            }
            let wide = samples::between(&[2, 700], 2, 0.95, 1.05);
            case("wide", wide, samples::ints(&[1]), 1e-8);
            case(
                "32-bit axis",
                samples::uniform(&[9], 3),
                HostTensor::scalar(0i32),
                1e-10,
            );
            for dtype in [
                DType::I32,
                DType::I64,
                DType::U32,
                DType::U64,
                DType::F16,
                DType::F64,
            ] {
                let x = samples::integers(dtype, &[4, 6], 4, 0, 5);
                case(dtype.name(), x, HostTensor::scalar(1i64), 1e-6);
            }
        }
        let op = CumSum {
            product: false,
            exclusive: false,
            reverse: false,
        };
        let inputs = vec![samples::uniform(&[3, 4], 5), HostTensor::scalar(0i64)];
        out.push(Case::new("run-time axis", op, inputs));
        out
    }
}

/// The axis as a scalar, or as a vector of one as some exporters write it.
fn single(op: &str, axis: &[i64]) -> Result<i64> {
    match axis {
        [axis] => Ok(*axis),
        _ => Err(crate::Error::op(
            op,
            format!("one axis is needed, got {axis:?}"),
        )),
    }
}

/// Bounds on sums of any number of the elements of `x`.
fn sum_range(x: &Fact) -> Option<(i64, i64)> {
    let (low, high) = x.range()?;
    let n = x.elements().known()?;
    Some((low.min(0).checked_mul(n)?, high.max(0).checked_mul(n)?))
}
