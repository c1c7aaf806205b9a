//! CenterCropPad: the middle of a tensor, or the tensor in the middle of zeros.

use super::moving::{axes_of, place, same_size};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::{Padding, pad};
use tilewright_tensor::{DType, HostTensor, Shape};

/// ONNX CenterCropPad-18: the sizes in input 1, reached by cutting or by adding zeros on both sides; where that does not come
/// out even, a cut begins one earlier and a pad ends one later.
#[derive(Clone, Debug)]
pub struct CenterCropPad {
    /// The axes that the sizes are for, negative ones count from the end; none for all.
    pub axes: Option<Vec<i64>>,
}

/// How one axis of `from` elements becomes one of `to`: (elements skipped in the input, zeros before, elements copied).
fn centred(from: usize, to: usize) -> (usize, usize, usize) {
    let (cut, pad) = (from.saturating_sub(to) / 2, to.saturating_sub(from) / 2);
    (cut, pad, from.min(to))
}

impl CenterCropPad {
    fn axes(&self, rank: usize) -> Result<Vec<usize>> {
        match &self.axes {
            Some(axes) => axes_of("CenterCropPad", axes, rank),
            None => Ok((0..rank).collect()),
        }
    }
}

impl Operator for CenterCropPad {
    const NAMES: &'static [&'static str] = &["CenterCropPad"];

    fn attrs(&self) -> Attrs {
        Attrs::new("CenterCropPad").with_opt("axes", self.axes.clone())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(CenterCropPad {
            axes: attrs.opt("axes")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let (axes, sizes) = (self.axes(x.rank())?, inputs.dims(1)?);
        same_size("CenterCropPad", &axes.len().into(), &sizes.len().into())?;
        let mut shape: Vec<Dim> = x.shape.clone();
        for (axis, size) in axes.into_iter().zip(sizes) {
            shape[axis] = size;
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let (axes, sizes) = (self.axes(x.rank())?, Shape::from_i64(&inputs.ints(1)?)?);
        if axes.len() != sizes.rank() {
            return Err(inputs.error(format!("sizes {sizes} for {} axes", axes.len())));
        }
        let mut shape = x.shape().to_vec();
        for (axis, &size) in axes.into_iter().zip(&sizes[..]) {
            shape[axis] = size;
        }
        let mut out = HostTensor::zeros(x.dtype(), shape.clone())?;
        let parts = x.shape().iter().zip(&shape).map(|(&a, &b)| centred(a, b));
        let parts: Vec<_> = parts.collect();
        let common: Shape = parts.iter().map(|part| part.2).collect();
        let strides = [x.shape().strides(), out.shape().strides()];
        let start = |of: usize| {
            let skipped = parts
                .iter()
                .map(|part| if of == 0 { part.0 } else { part.1 });
            let steps = strides[of].iter();
            skipped.zip(steps).map(|(n, &s)| n * s as usize).sum()
        };
        let pairs = common.offsets([&strides[0][..], &strides[1][..]]);
        let (from, to): (Vec<usize>, Vec<usize>) = pairs
            .starting_at([start(0), start(1)])
            .map(|[a, b]| (a, b))
            .unzip();
        out.place(&x.select([from.len()], from)?, to)?;
        Ok(vec![out])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let begin = x.shape.iter().zip(&y.shape).map(|(&from, &to)| {
            let (cut, zeros, _) = centred(from, to);
            zeros as i64 - cut as i64
        });
        let begin: Vec<i64> = begin.collect();
        let dispatches = pad(cx.caps(), &x, &begin, Padding::Known(0), &y)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, x: HostTensor, axes: Option<&[i64]>, sizes: &[i64]| {
            let axes = axes.map(<[i64]>::to_vec);
            let inputs = vec![x, samples::ints(sizes)];
            Case::new(name, CenterCropPad { axes }, inputs).constant(&[1])
        };
        let x = |shape: &[usize]| samples::uniform(shape, 1);
        let ints = samples::integers(DType::I64, &[4, 5], 1, -9, 9);
        vec![
            case("crop", x(&[20, 10, 3]), None, &[10, 7, 3]),
            case("pad", x(&[10, 7, 3]), None, &[20, 10, 3]),
            case("both", x(&[5, 8]), None, &[8, 5]),
            case("axes", x(&[3, 6, 5]), Some(&[-1, 1]), &[8, 3]),
            case("integers", ints, Some(&[0]), &[7]),
            case("run-time sizes", x(&[4, 5]), None, &[5, 4]).constant(&[]),
        ]
    }
}
