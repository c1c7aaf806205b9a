//! ConvInteger and QLinearConv: convolutions of quantised tensors.

use super::conv::Conv;
use super::matmul_integer::{any, bytes_only, first, requantised};
use super::window::{Layout, Window};
use crate::fact::{Facts, Tensors};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// ONNX ConvInteger-10: a convolution of 8-bit tensors minus their zero points, in i32. The zero point of W is a scalar or
/// one an output channel. Padding counts as the zero point.
#[derive(Clone, Debug, Default)]
pub struct ConvInteger {
    /// The convolution.
    pub conv: Conv,
}

impl Operator for ConvInteger {
    const NAMES: &'static [&'static str] = &["ConvInteger"];

    fn attrs(&self) -> Attrs {
        renamed("ConvInteger", &self.conv)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        Ok(ConvInteger {
            conv: Conv::from_attrs(name, attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, w) = (inputs.req(0)?, inputs.req(1)?);
        bytes_only(inputs, &[x, w])?;
        let shape = self.conv.shape(inputs, x, w, None)?;
        Ok(vec![Fact::new(DType::I32, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, w) = (inputs.req(0)?, inputs.req(1)?);
        let zeros = (inputs.opt(2), inputs.opt(3));
        let (sums, shape) = sums(&self.conv, inputs.op(), x, w, zeros, None)?;
        let y = HostTensor::from_f64(DType::I32, shape, sums)?;
        Ok(vec![self.conv.layout.tensor_from_first(&y)?])
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let (u, i) = (DType::U8, DType::I8);
        let case = |name: &str, conv, tensors: Vec<HostTensor>| {
            let constant: Vec<usize> = (1..tensors.len()).collect();
            Case::new(name, ConvInteger { conv }, tensors).constant(&constant)
        };
        let cases = vec![
            case(
                "plain",
                conv(1, &[]),
                vec![any(u, &[1, 3, 5, 6], 1), any(i, &[4, 3, 3, 3], 2)],
            ),
            case(
                "padded",
                conv(1, &[1, 1, 1, 1]),
                vec![
                    any(u, &[2, 4, 5, 6], 1),
                    any(i, &[8, 4, 3, 3], 2),
                    any(u, &[], 3),
                    any(i, &[], 4),
                ],
            ),
            case(
                "per channel",
                conv(2, &[0, 1, 1, 0]),
                vec![
                    any(i, &[1, 4, 5, 6], 1),
                    any(i, &[6, 2, 2, 3], 2),
                    any(i, &[], 3),
                    any(i, &[6], 4),
                ],
            ),
            case(
                "1-D",
                conv(1, &[1, 1]),
                vec![any(u, &[1, 3, 9], 1), any(u, &[4, 3, 3], 2), any(u, &[], 3)],
            ),
        ];
        super::pool::both_layouts(cases, |op| match op {
            crate::Op::ConvInteger(op) => Some(
                ConvInteger {
                    conv: last(&op.conv),
                }
                .into(),
            ),
            _ => None,
        })
    }
}

/// ONNX QLinearConv-10. Inputs: X, its scale and zero point, the same of W (scalars or one an output channel), scale and zero
/// point of Y, and optionally an i32 bias of scale `x_scale * w_scale`.
///
/// `Y = saturate(round(f32(sum) * f32(f32(x_scale * w_scale) / y_scale)) + y_zero)`.
#[derive(Clone, Debug, Default)]
pub struct QLinearConv {
    /// The convolution.
    pub conv: Conv,
}

impl Operator for QLinearConv {
    const NAMES: &'static [&'static str] = &["QLinearConv"];

    fn attrs(&self) -> Attrs {
        renamed("QLinearConv", &self.conv)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        Ok(QLinearConv {
            conv: Conv::from_attrs(name, attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, w, zero) = (inputs.req(0)?, inputs.req(3)?, inputs.req(7)?);
        bytes_only(inputs, &[x, w, zero])?;
        let shape = self.conv.shape(inputs, x, w, inputs.opt(8))?;
        Ok(vec![Fact::new(zero.dtype, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, w) = (inputs.req(0)?, inputs.req(3)?);
        let zeros = (inputs.opt(2), inputs.opt(5));
        let bias = inputs.opt(8).map(HostTensor::to_f64);
        let (sums, shape) = sums(&self.conv, inputs.op(), x, w, zeros, bias)?;
        let (x_scale, y_scale) = (first(inputs.req(1)?) as f32, first(inputs.req(6)?) as f32);
        let w_scales = inputs.req(4)?.to_f64();
        let plane = shape[2..].iter().product::<usize>().max(1);
        let factor = |i: usize| {
            let channel = i / plane % shape[1];
            let w_scale = w_scales[if w_scales.len() > 1 { channel } else { 0 }] as f32;
            x_scale * w_scale / y_scale
        };
        let zero = inputs.req(7)?;
        let y = requantised(
            sums.into_iter().enumerate().map(|(i, s)| (s, factor(i))),
            zero,
        );
        let y = HostTensor::from_f64(zero.dtype(), shape, y)?;
        Ok(vec![self.conv.layout.tensor_from_first(&y)?])
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let (u, i) = (DType::U8, DType::I8);
        let scale = |v: f32| samples::of(&[], &[v]);
        let case =
            |name: &str, conv, x: HostTensor, w: HostTensor, per_channel: bool, bias: bool| {
                let channels = w.shape()[0];
                let shape: &[usize] = if per_channel { &[channels] } else { &[] };
                let w_scale = samples::between(shape, 5, 0.01, 0.03);
                let (x_zero, w_zero) = (any(x.dtype(), &[], 6), any(w.dtype(), shape, 7));
                let y_zero = any(x.dtype(), &[], 8);
                let mut inputs = vec![
                    x,
                    scale(0.02),
                    x_zero,
                    w,
                    w_scale,
                    w_zero,
                    scale(1.3),
                    y_zero,
                ];
                inputs
                    .extend(bias.then(|| samples::integers(DType::I32, &[channels], 9, -900, 900)));
                let constant: Vec<usize> = (1..inputs.len()).collect();
                Case::new(name, QLinearConv { conv }, inputs).constant(&constant)
            };
        let cases = vec![
            case(
                "plain",
                conv(1, &[]),
                any(u, &[1, 3, 5, 6], 1),
                any(i, &[4, 3, 3, 3], 2),
                false,
                false,
            ),
            case(
                "padded, bias",
                conv(1, &[1, 1, 1, 1]),
                any(u, &[2, 4, 5, 6], 1),
                any(u, &[8, 4, 3, 3], 2),
                false,
                true,
            ),
            case(
                "per channel",
                conv(2, &[0, 1, 1, 0]),
                any(i, &[1, 4, 5, 6], 1),
                any(i, &[6, 2, 2, 3], 2),
                true,
                true,
            ),
            case(
                "depthwise",
                conv(8, &[1, 1, 1, 1]),
                any(u, &[1, 8, 5, 6], 1),
                any(i, &[8, 1, 3, 3], 2),
                true,
                true,
            ),
        ];
        super::pool::both_layouts(cases, |op| match op {
            crate::Op::QLinearConv(op) => Some(
                QLinearConv {
                    conv: last(&op.conv),
                }
                .into(),
            ),
            _ => None,
        })
    }
}

fn renamed(name: &str, conv: &Conv) -> Attrs {
    let attrs = conv.layout.write(Attrs::new(name));
    conv.window.write(attrs.with("group", conv.group))
}

fn conv(group: i64, pads: &[i64]) -> Conv {
    Conv {
        group,
        window: Window {
            pads: pads.to_vec(),
            ..Window::default()
        },
        ..Conv::default()
    }
}

fn last(conv: &Conv) -> Conv {
    Conv {
        layout: Layout::ChannelsLast,
        ..conv.clone()
    }
}

/// The sums, channels first, and their shape.
fn sums(
    conv: &Conv,
    op: &str,
    x: &HostTensor,
    w: &HostTensor,
    zeros: (Option<&HostTensor>, Option<&HostTensor>),
    bias: Option<Vec<f64>>,
) -> Result<(Vec<f64>, Vec<usize>)> {
    let x = conv.layout.tensor_to_first(x)?;
    let x_zero = zeros.0.map_or(0.0, first);
    let x_values: Vec<f64> = x.to_f64().into_iter().map(|v| v - x_zero).collect();
    let w_zeros = zeros.1.map_or(vec![0.0], HostTensor::to_f64);
    let kernel = (w.len() / w.shape()[0].max(1)).max(1);
    let zero = |i: usize| w_zeros[if w_zeros.len() > 1 { i / kernel } else { 0 }];
    let w_values = w.to_f64().into_iter().enumerate();
    let w_values: Vec<f64> = w_values.map(|(i, v)| v - zero(i)).collect();
    conv.values(op, (&x_values, &x), (&w_values, w), bias)
}
