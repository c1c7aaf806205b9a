//! ConvInteger and QLinearConv: convolutions of quantised tensors.

use super::conv::Conv;
use super::filter::{filter_key, lower_product, shape_of};
use super::int8::{self, ColumnValues, Columns};
use super::matmul_integer::{any, bytes_only, first, requantised};
use super::window::{Layout, Window};
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::{self as kernels, ConvShape, Epilogue, Filter, Grain, Store, View, Zero};
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
        int8::parameters(inputs, &[2], &[3], &w.shape[0])?;
        Ok(vec![Fact::new(DType::I32, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        crate::op::per_weight(inputs, outputs, 1)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, w) = (inputs.req(0)?, inputs.req(1)?);
        let zeros = (inputs.opt(2), inputs.opt(3));
        let (sums, shape) = sums(&self.conv, inputs.op(), x, w, zeros, None)?;
        let y = HostTensor::from_f64(DType::I32, shape, sums)?;
        Ok(vec![self.conv.layout.tensor_from_first(&y)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        if let Some(host) = int8::need_constants(cx, &[1, 2, 3]) {
            return host;
        }
        place(cx, &self.conv, 1)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x_zero, w_zero) = (int8::integers(cx, 2, 0)?, int8::integers(cx, 3, 0)?);
        let quantised = Quantised {
            filter: 1,
            x_zero: x_zero[0],
            w_zeros: w_zero,
            bias: vec![],
            y: None,
        };
        quantised.lower(cx, &self.conv)
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
        (0..8).try_for_each(|i| inputs.req(i).map(drop))?;
        let (x, w, zero) = (inputs.req(0)?, inputs.req(3)?, inputs.req(7)?);
        bytes_only(inputs, &[x, w, zero])?;
        let shape = self.conv.shape(inputs, x, w, inputs.opt(8))?;
        int8::parameters(inputs, &[1, 2, 6, 7], &[4, 5], &w.shape[0])?;
        Ok(vec![Fact::new(zero.dtype, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        crate::op::per_weight(inputs, outputs, 3)
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

    fn place(&self, cx: &Placing<'_>) -> Place {
        if let Some(host) = int8::need_constants(cx, &[1, 2, 3, 4, 5, 6, 7, 8]) {
            return host;
        }
        place(cx, &self.conv, 3)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let bias = match cx.weight(8) {
            Some(_) => int8::integers(cx, 8, 0)?,
            None => vec![],
        };
        let (x_scale, y_scale) = (int8::floats(cx, 1)?[0], int8::floats(cx, 6)?[0]);
        let scales = int8::floats(cx, 4)?.into_iter();
        let scales = scales.map(|s| x_scale * s / y_scale).collect();
        let quantised = Quantised {
            filter: 3,
            x_zero: int8::integers(cx, 2, 0)?[0],
            w_zeros: int8::integers(cx, 5, 0)?,
            bias,
            y: Some((int8::integers(cx, 7, 0)?[0], scales)),
        };
        quantised.lower(cx, &self.conv)
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let (u, i) = (DType::U8, DType::I8);
        let cases = vec![
            linear(
                "plain",
                conv(1, &[]),
                any(u, &[1, 3, 5, 6], 1),
                any(i, &[4, 3, 3, 3], 2),
                false,
                false,
            ),
            linear(
                "padded, bias",
                conv(1, &[1, 1, 1, 1]),
                any(u, &[2, 4, 5, 6], 1),
                any(u, &[8, 4, 3, 3], 2),
                false,
                true,
            ),
            linear(
                "per channel",
                conv(2, &[0, 1, 1, 0]),
                any(i, &[1, 4, 5, 6], 1),
                any(i, &[6, 2, 2, 3], 2),
                true,
                true,
            ),
            linear(
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

/// A case of QLinearConv, with scales and zero points that suit it.
fn linear(
    name: &str,
    conv: Conv,
    x: HostTensor,
    w: HostTensor,
    per_channel: bool,
    bias: bool,
) -> Case {
    let scale = |v: f32| samples::of(&[], &[v]);
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
    inputs.extend(bias.then(|| samples::integers(DType::I32, &[channels], 9, -900, 900)));
    let constant: Vec<usize> = (1..inputs.len()).collect();
    Case::new(name, QLinearConv { conv }, inputs).constant(&constant)
}

/// Groups whose channels fill words run in 8 bits, those of few terms in f32, which is exact for them.
fn place(cx: &Placing<'_>, conv: &Conv, filter: usize) -> Place {
    if conv.layout == Layout::ChannelsFirst {
        return Place::host("channels are first");
    }
    let shape = cx.inputs.opt(filter).and_then(Fact::known_shape);
    let Some([outputs, inner, taps @ ..]) = shape.as_deref() else {
        return Place::host("the weight's size is unknown");
    };
    let whole = taps.len() <= 3 && outputs * inner > 0 && int8::has_terms(cx, [0, filter]);
    let exact = terms(*inner, taps) <= EXACT_TERMS;
    if !whole || !(in_words(conv, *outputs, *inner) || exact) {
        return Place::host("groups of this size have no kernel");
    }
    cx.by_storage()
}

/// Products of 8-bit numbers, less than 2^16 each, whose sum f32 holds exactly.
const EXACT_TERMS: usize = 255;

fn terms(inner: usize, taps: &[usize]) -> usize {
    inner * taps.iter().product::<usize>()
}

/// True if the channels of all groups fill words.
fn in_words(conv: &Conv, outputs: usize, inner: usize) -> bool {
    conv.group <= 1 || (inner.is_multiple_of(4) && outputs.is_multiple_of(4))
}

/// A convolution with known zero points and scales.
struct Quantised {
    /// The input that holds the filter.
    filter: usize,
    x_zero: i32,
    w_zeros: Vec<i32>,
    bias: Vec<i32>,
    /// Zero point of the output, and the factors of the sums; none for sums in i32.
    y: Option<(i32, Vec<f32>)>,
}

impl Quantised {
    fn lower(&self, cx: &mut Lower<'_>, conv: &Conv) -> Result<()> {
        let (x, w) = (cx.input(0)?, cx.input(self.filter)?.shape);
        let slides = conv
            .window
            .slides("Conv", &x.shape[1..x.shape.len() - 1], &w[2..])?;
        let shape = shape_of(x.shape[0], (x.last(), w[0]), conv.group, &slides);
        if in_words(conv, w[0], w[1]) {
            self.in_bytes(cx, &shape, x.shape)
        } else {
            self.in_floats(cx, &shape, &x)
        }
    }

    fn in_bytes(&self, cx: &mut Lower<'_>, shape: &ConvShape, x: Vec<usize>) -> Result<()> {
        let x = int8::packed(cx, 0, x)?;
        let scales = self.y.as_ref().map_or(vec![1.0], |y| y.1.clone());
        let values = ColumnValues {
            zeros: self.w_zeros.clone(),
            bias: self.bias.clone(),
            scales,
        };
        let caps = cx.caps().clone();
        let words = |w: &HostTensor, _| Ok(kernels::pack_filter8(&caps, shape, w)?);
        let same = |w: &HostTensor| Ok(w.clone());
        let (i, key) = (self.filter, filter_key(shape));
        let columns = Columns::new(cx, i, key, &values, &[None], words, same)?;
        let (zero, filter, y) = (
            Zero::Known(self.x_zero),
            columns.operands()[0],
            cx.output(0)?,
        );
        let bytes = kernels::conv8_scratch(shape, &zero, &filter);
        let narrow = self.y.as_ref().map(|_| int8::store8(cx.output_dtype(0)));
        let y_zero = self.y.as_ref().map_or(0, |y| y.0);
        int8::emit(cx, bytes, &y, narrow, |cx, y, scratch| {
            let on = cx.target();
            Ok(kernels::conv8(
                on, shape, &x, zero, filter, y, y_zero, None, scratch,
            )?)
        })
    }

    /// Exact in f32, as the terms are few: x and w minus their zero points, a convolution, and rounding.
    fn in_floats(&self, cx: &mut Lower<'_>, shape: &ConvShape, x: &View) -> Result<()> {
        let caps = cx.caps().clone();
        let vector = |cx: &mut Lower<'_>, values: Vec<f32>| {
            cx.table(HostTensor::from_vec([values.len()], values)?)
        };
        let one = vector(cx, vec![1.0])?;
        let zero = cx.table(HostTensor::from_vec([1], vec![self.x_zero])?)?;
        let centred = cx.scratch(Store::F32, x.shape.clone());
        let grain = Grain::Tensor;
        cx.emit(kernels::dequantize(
            &caps,
            x,
            &one,
            Some(&zero),
            &centred,
            grain,
        )?);
        let packed = self.centred_filter(cx, shape)?;
        let channels = shape.out_channels;
        let spread = |of: &[f32]| (0..channels).map(|i| of[i % of.len()]).collect::<Vec<_>>();
        let bias: Vec<f32> = self.bias.iter().map(|&b| b as f32).collect();
        let bias = vector(cx, spread(if bias.is_empty() { &[0.0] } else { &bias }))?;
        let factor = self.y.as_ref().map_or(&[1.0][..], |y| &y.1);
        let factor = vector(cx, spread(factor))?;
        let epilogue = Epilogue::affine(&bias, &factor, channels)?;
        let y = cx.output(0)?;
        let sums = cx.scratch(Store::F32, y.shape.clone());
        let filter = Filter::Packed(&packed);
        let ends = Some(&epilogue);
        match shape.is_depthwise() {
            true => cx.emit(kernels::depthwise(
                &caps, shape, &centred, filter, &sums, ends,
            )?),
            false => lower_product(cx, shape, &centred, filter, &sums, ends)?,
        }
        let dtype = cx.output_dtype(0).unwrap_or(DType::I32);
        let (low, high) = dtype.int_range().unwrap_or_default();
        let y_zero = self.y.as_ref().map_or(0, |y| y.0);
        let zero = cx.table(HostTensor::from_vec([1], vec![y_zero])?)?;
        let range = (low as i32, high as i32);
        cx.emit(kernels::quantize(
            &caps,
            &sums,
            &one,
            Some(&zero),
            &y,
            grain,
            range,
            false,
        )?);
        Ok(())
    }

    /// The filter minus its zero points in f32, as the convolution's kernel reads it.
    fn centred_filter(&self, cx: &mut Lower<'_>, shape: &ConvShape) -> Result<View> {
        let (caps, zeros) = (cx.caps().clone(), self.w_zeros.clone());
        let key = format!("floats {} {zeros:?}", filter_key(shape));
        cx.derived(self.filter, key, |w| {
            let each = (w.len() / w.shape()[0].max(1)).max(1);
            let values = w.to_f64().into_iter().enumerate();
            let values = values.map(|(i, v)| v - f64::from(zeros[i / each % zeros.len()]));
            let w = HostTensor::from_f64(DType::F32, w.shape(), values.collect())?;
            Ok(if shape.is_depthwise() {
                kernels::pack_depthwise(shape, &w)?
            } else {
                kernels::pack_filter(&caps, shape, &w)?
            })
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
