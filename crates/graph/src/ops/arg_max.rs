//! ArgMax, ArgMin: the index of the largest or smallest element along an axis.

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors, axis_index};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::ops::groups::{Groups, integers};
use crate::ops::reduce::reduced;
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels as kernels;
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX ArgMax-13 and ArgMin-13. NaN counts as the extreme, as in NumPy.
#[derive(Clone, Debug)]
pub struct ArgMax {
    /// The smallest is looked for.
    pub min: bool,
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// The axis stays, with size 1.
    pub keep_dims: bool,
    /// Of equal elements the last counts, not the first.
    pub select_last_index: bool,
}

impl ArgMax {
    /// The position of the extreme of `x` by `beats(a, b)`, "a is more extreme than b".
    fn pick<T: Copy>(&self, x: impl Iterator<Item = T>, beats: impl Fn(T, T) -> bool) -> i64 {
        let mut best: Option<(i64, T)> = None;
        for (i, v) in x.enumerate() {
            let wins =
                best.is_none_or(|(_, b)| beats(v, b) || self.select_last_index && !beats(b, v));
            if wins {
                best = Some((i as i64, v));
            }
        }
        best.map_or(0, |(i, _)| i)
    }
}

impl Operator for ArgMax {
    const NAMES: &'static [&'static str] = &["ArgMax", "ArgMin"];

    fn name(&self) -> &'static str {
        Self::NAMES[usize::from(self.min)]
    }

    fn attrs(&self) -> Attrs {
        Attrs::new(self.name())
            .with("axis", self.axis)
            .with("keepdims", self.keep_dims)
            .with("select_last_index", self.select_last_index)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        Ok(ArgMax {
            min: name == Self::NAMES[1],
            axis: attrs.or("axis", 0)?,
            keep_dims: attrs.or("keepdims", true)?,
            select_last_index: attrs.or("select_last_index", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let axis = axis_index(self.name(), self.axis, data.rank())?;
        let n = data.shape[axis].known();
        if n == Some(0) {
            return Err(inputs.error(format!("axis {axis} of {data} is empty")));
        }
        let shape = reduced(&data.shape, &[axis], self.keep_dims, &1i64.into());
        // An index is below the size, and no tensor has an axis of 2^31.
        let last = n.map_or(i32::MAX.into(), |n| n - 1);
        Ok(vec![Fact::new(DType::I64, shape).with_range(0, last)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let axis = axis_index(self.name(), self.axis, data.rank())?;
        if data.shape()[axis] == 0 {
            return Err(Error::op(self.name(), format!("axis {axis} is empty")));
        }
        let groups = Groups::new(data.shape(), &[axis]);
        let found: Vec<i64> = if data.dtype().is_float() {
            let x = data.to_f64();
            let beats = |a: f64, b: f64| {
                let more = if self.min { a < b } else { a > b };
                more || a.is_nan() && !b.is_nan()
            };
            // A NaN is not beaten by numbers: comparisons with it are false.
            let pick = groups.iter().map(|g| self.pick(g.map(|i| x[i]), beats));
            pick.collect()
        } else {
            let x = integers(data)?;
            let beats = |a: i128, b: i128| if self.min { a < b } else { a > b };
            let pick = groups.iter().map(|g| self.pick(g.map(|i| x[i]), beats));
            pick.collect()
        };
        let shape = Shape::new(reduced(data.shape(), &[axis], self.keep_dims, &1));
        Ok(vec![HostTensor::from_vec(shape, found)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.by_storage()
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::before(cx, self.axis)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        if x.elements() == 0 {
            return Ok(());
        }
        let axis = axis_index(self.name(), self.axis, x.shape.len())?;
        let last = self.select_last_index;
        cx.emit(kernels::arg_max(cx.caps(), &x, axis, &y, self.min, last)?);
        Ok(())
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut out = vec![];
        for (min, axis, last) in [
            (false, 0, false),
            (false, 1, true),
            (false, -1, false),
            (true, 0, true),
            (true, 1, false),
            (true, 2, true),
        ] {
            let op = |keep_dims| ArgMax {
                min,
                axis,
                keep_dims,
                select_last_index: last,
            };
            let name = |what: &str| format!("{what} min {min} axis {axis} last {last}");
            // Few distinct values, so that there are ties.
            let ties = |dtype| samples::integers(dtype, &[4, 7, 8], 1, 0, 3);
            out.extend([
                Case::new(
                    &name("floats"),
                    op(true),
                    vec![samples::uniform(&[3, 5, 9], 2)],
                ),
                Case::new(
                    &name("wide"),
                    op(false),
                    vec![samples::uniform(&[3, 2, 1030], 3)],
                ),
                Case::new(&name("ties"), op(false), vec![ties(DType::F32)]),
                Case::new(&name("NaN"), op(true), vec![with_nan()]),
            ]);
            for dtype in [
                DType::I32,
                DType::I64,
                DType::U8,
                DType::U64,
                DType::I8,
                DType::F16,
                DType::F64,
            ] {
                out.push(Case::new(&name(dtype.name()), op(true), vec![ties(dtype)]));
            }
        }
        out
    }
}

fn with_nan() -> HostTensor {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows = [1.0, nan, 2.0, nan, 3.0, 0.0, -1.0, 5.0, inf, nan, -inf, 7.0];
    samples::of(&[2, 3, 2], &rows)
}
