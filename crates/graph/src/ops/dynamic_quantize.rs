//! DynamicQuantizeLinear: to 8 bits by the range of the data.

use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::{self as kernels, Grain, Reduction, Store};
use tilewright_tensor::{DType, HostTensor};

/// ONNX DynamicQuantizeLinear-11: u8 by the range of the input, with its scale and zero point. The range always holds 0.
#[derive(Clone, Debug)]
pub struct DynamicQuantizeLinear;

impl Operator for DynamicQuantizeLinear {
    const NAMES: &'static [&'static str] = &["DynamicQuantizeLinear"];

    fn attrs(&self) -> Attrs {
        Attrs::new("DynamicQuantizeLinear")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(DynamicQuantizeLinear)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        if x.dtype != DType::F32 {
            return Err(inputs.error(format!("the input must be f32, got {}", x.dtype)));
        }
        let scalar = || Vec::<Dim>::new();
        Ok(vec![
            Fact::new(DType::U8, x.shape.clone()),
            Fact::new(DType::F32, scalar()),
            Fact::new(DType::U8, scalar()),
        ])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let values = x.as_slice::<f32>()?;
        let low = values.iter().fold(0.0f32, |a, &b| a.min(b));
        let high = values.iter().fold(0.0f32, |a, &b| a.max(b));
        // In f32 as the specification's function does it: later operators use the very same scale.
        let range = if low == high { 1.0 } else { high - low };
        let scale = range / 255.0;
        let zero = (0.0 - low / scale).clamp(0.0, 255.0).round_ties_even();
        let one = |v: &f32| ((v / scale).round_ties_even() + zero).clamp(0.0, 255.0) as u8;
        Ok(vec![
            HostTensor::from_vec(x.shape(), values.iter().map(one).collect())?,
            HostTensor::scalar(scale),
            HostTensor::scalar(zero as u8),
        ])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        cx.by_storage()
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let mut x = cx.input(0)?;
        let or_scratch = |cx: &mut Lower<'_>, i: usize, store| {
            let view = cx.opt_output(i);
            view.unwrap_or_else(|| cx.scratch(store, vec![1]))
        };
        let scale = or_scratch(cx, 1, Store::F32);
        let zero = or_scratch(cx, 2, Store::U32);
        let (low, high) = (cx.scratch(Store::F32, [1]), cx.scratch(Store::F32, [1]));
        x.shape = vec![x.elements()];
        if x.elements() == 0 {
            for view in [&low, &high] {
                cx.emit(kernels::fill(cx.caps(), view, 0)?);
            }
        } else {
            let bytes = kernels::reduce_scratch(cx.caps(), &x.shape, &[0]);
            let scratch = (bytes > 0).then(|| cx.scratch(Store::U32, [bytes as usize / 4]));
            for (kind, to) in [(Reduction::Min, &low), (Reduction::Max, &high)] {
                let scratch = scratch.as_ref();
                cx.emit(kernels::reduce(cx.caps(), &x, &[0], to, kind, scratch)?);
            }
        }
        cx.emit(kernels::quant_range(&low, &high, &scale, &zero));
        if let Some(y) = cx.opt_output(0) {
            let (grain, range, zero) = (Grain::Tensor, (0, 255), Some(&zero));
            cx.emit(kernels::quantize(
                cx.caps(),
                &x,
                &scale,
                zero,
                &y,
                grain,
                range,
                false,
            )?);
        }
        Ok(())
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, low, high| {
            let x = samples::between(&[3, 5, 7], 1, low, high);
            Case::new(name, DynamicQuantizeLinear, vec![x])
        };
        let zeros = samples::of(&[4], &[0.0f32; 4]);
        vec![
            case("both signs", -1.0, 2.0),
            case("positive", 0.5, 3.0),
            case("negative", -3.0, -1.0),
            Case::new("zeros", DynamicQuantizeLinear, vec![zeros]),
        ]
    }
}
