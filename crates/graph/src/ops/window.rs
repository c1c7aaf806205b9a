//! Sliding windows: the geometry that convolution, pooling and their kin share, and where the channels lie.

use crate::dim::Dim;
use crate::{Attrs, Error, Result};
use std::ops::Range;
use tilewright_tensor::{HostTensor, Shape};

/// Bound on kernel sizes, steps and padding: their products then fit 64 bits.
const MOST: i64 = i32::MAX as i64;

/// How a window's padding is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoPad {
    /// By the attribute `pads`.
    #[default]
    NotSet,
    /// Such that the output has `ceil(input / stride)` places; an odd one goes to the end.
    SameUpper,
    /// The same, but an odd one goes to the beginning.
    SameLower,
    /// None.
    Valid,
}

/// Kernel sizes, steps and padding of a window over the spatial axes, as the ONNX attributes state them. An empty list
/// stands for the default: the weight's sizes, ones, ones, zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Places the window covers along each axis.
    pub kernel: Vec<i64>,
    /// Distance of neighbouring windows.
    pub strides: Vec<i64>,
    /// Distance of neighbouring places in one window.
    pub dilations: Vec<i64>,
    /// Padding before all axes, then after all axes.
    pub pads: Vec<i64>,
    /// How the padding is found.
    pub auto_pad: AutoPad,
    /// Rounds the number of windows up instead of down.
    pub ceil: bool,
}

/// A window along one axis with plain sizes: place `tap` of window `out` lies at `out * stride + tap * dilation - before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slide {
    /// Places the window covers.
    pub kernel: usize,
    /// Distance of neighbouring windows.
    pub stride: usize,
    /// Distance of neighbouring places in one window.
    pub dilation: usize,
    /// Padding before the first element.
    pub before: usize,
    /// Padding behind the last element.
    pub after: usize,
    /// Elements along the axis.
    pub input: usize,
    /// Number of windows.
    pub output: usize,
}

impl Window {
    /// A window of these sizes at every place; for cases and passes.
    pub fn of(kernel: &[i64]) -> Window {
        Window {
            kernel: kernel.to_vec(),
            ..Window::default()
        }
    }

    /// Reads the ONNX attributes `kernel_shape`, `strides`, `dilations`, `pads`, `auto_pad` and `ceil_mode`.
    pub fn read(attrs: &Attrs) -> Result<Window> {
        let auto_pad = match attrs.or("auto_pad", String::new())?.as_str() {
            "" | "NOTSET" => AutoPad::NotSet,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            other => return Err(Error::op(attrs.op(), format!("auto_pad {other:?}"))),
        };
        Ok(Window {
            kernel: attrs.or("kernel_shape", vec![])?,
            strides: attrs.or("strides", vec![])?,
            dilations: attrs.or("dilations", vec![])?,
            pads: attrs.or("pads", vec![])?,
            auto_pad,
            ceil: attrs.or("ceil_mode", false)?,
        })
    }

    /// The inverse of [`Window::read`]; defaults are left out.
    pub fn write(&self, attrs: Attrs) -> Attrs {
        let list = |v: &Vec<i64>| Some(v.clone()).filter(|v| !v.is_empty());
        let auto_pad = match self.auto_pad {
            AutoPad::NotSet => None,
            AutoPad::SameUpper => Some("SAME_UPPER"),
            AutoPad::SameLower => Some("SAME_LOWER"),
            AutoPad::Valid => Some("VALID"),
        };
        attrs
            .with_opt("kernel_shape", list(&self.kernel))
            .with_opt("strides", list(&self.strides))
            .with_opt("dilations", list(&self.dilations))
            .with_opt("pads", list(&self.pads))
            .with_opt("auto_pad", auto_pad.map(String::from))
            .with_opt("ceil_mode", self.ceil.then_some(true))
    }

    /// Refuses lists of the wrong length and values that make no window.
    pub fn check(&self, op: &str, axes: usize) -> Result<()> {
        let lists = [
            ("kernel_shape", &self.kernel, axes, 1),
            ("strides", &self.strides, axes, 1),
            ("dilations", &self.dilations, axes, 1),
            ("pads", &self.pads, 2 * axes, 0),
        ];
        for (name, list, len, least) in lists {
            if !list.is_empty() && list.len() != len {
                let what = format!("{name} {list:?} must have {len} values");
                return Err(Error::op(op, what));
            }
            if !list.iter().all(|n| (least..=MOST).contains(n)) {
                let what = format!("{name} {list:?} is not within {least} and {MOST}");
                return Err(Error::op(op, what));
            }
        }
        Ok(())
    }

    /// Stride of an axis.
    pub fn stride(&self, axis: usize) -> i64 {
        self.strides.get(axis).copied().unwrap_or(1)
    }

    /// Dilation of an axis.
    pub fn dilation(&self, axis: usize) -> i64 {
        self.dilations.get(axis).copied().unwrap_or(1)
    }

    /// Padding before and after an axis, as far as `pads` says.
    pub fn pad(&self, axis: usize) -> (i64, i64) {
        let axes = self.pads.len() / 2;
        match (self.auto_pad, self.pads.get(axis)) {
            (AutoPad::NotSet, Some(&before)) => (before, self.pads[axes + axis]),
            _ => (0, 0),
        }
    }

    /// The kernel sizes: the attribute, or else those of the weight.
    pub fn kernel_dims(&self, op: &str, weight: &[Dim]) -> Result<Vec<Dim>> {
        self.check(op, weight.len())?;
        if self.kernel.is_empty() {
            return Ok(weight.to_vec());
        }
        let own: Vec<Dim> = self.kernel.iter().map(|&k| k.into()).collect();
        let differ = |(a, b): (&Dim, &Dim)| b.known().is_some() && a != b;
        if own.iter().zip(weight).any(differ) {
            let what = format!("kernel_shape {own:?}, but the weight has {weight:?}");
            return Err(Error::op(op, what));
        }
        Ok(own)
    }

    /// Number of windows along each axis.
    pub fn outputs(&self, op: &str, input: &[Dim], kernel: &[Dim]) -> Result<Vec<Dim>> {
        self.check(op, input.len())?;
        if kernel.len() != input.len() {
            let what = format!("a window of {kernel:?} over {} axes", input.len());
            return Err(Error::op(op, what));
        }
        // Sizes of a kernel may come from an input, which `check` does not see.
        if kernel.iter().filter_map(Dim::known).any(|n| n > MOST) {
            let what = format!("a window of {kernel:?} passes {MOST}");
            return Err(Error::op(op, what));
        }
        let outputs = (0..input.len()).map(|i| {
            let out = self.output(i, &input[i], &kernel[i]);
            if out.known().is_some_and(|n| n < 0) {
                let what = format!(
                    "a window of {} does not fit {} along axis {i}",
                    kernel[i], input[i]
                );
                return Err(Error::op(op, what));
            }
            Ok(out)
        });
        outputs.collect()
    }

    fn output(&self, axis: usize, input: &Dim, kernel: &Dim) -> Dim {
        let one = || Dim::from(1i64);
        let stride = Dim::from(self.stride(axis));
        if matches!(self.auto_pad, AutoPad::SameUpper | AutoPad::SameLower) {
            return input.ceil_div(&stride);
        }
        let (before, after) = self.pad(axis);
        let reach = (kernel.clone() - one()) * self.dilation(axis).into() + one();
        let room = input.clone() + (before + after).into() - reach;
        if !self.ceil {
            return room.floor_div(&stride) + one();
        }
        // No window starts in the padding behind the axis.
        let starts = (input.clone() + before.into()).ceil_div(&stride);
        (room.ceil_div(&stride) + one()).smaller(&starts)
    }

    /// The window along each axis for plain sizes.
    pub fn slides(&self, op: &str, input: &[usize], kernel: &[usize]) -> Result<Vec<Slide>> {
        let dims = |v: &[usize]| v.iter().map(|&n| Dim::from(n)).collect::<Vec<_>>();
        let outputs = self.outputs(op, &dims(input), &dims(kernel))?;
        let slide = |(i, out): (usize, Dim)| {
            let output = out.known().and_then(|n| usize::try_from(n).ok());
            let mut s = Slide {
                kernel: kernel[i],
                stride: self.stride(i) as usize,
                dilation: self.dilation(i) as usize,
                before: self.pad(i).0 as usize,
                after: self.pad(i).1 as usize,
                input: input[i],
                output: output.ok_or_else(|| Error::op(op, format!("size {out}")))?,
            };
            let same = matches!(self.auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
            if same {
                let reach = s.kernel.saturating_sub(1) * s.dilation + 1;
                let covered = s.output.saturating_sub(1) * s.stride + reach;
                let total = covered.saturating_sub(s.input);
                s.before = if self.auto_pad == AutoPad::SameUpper {
                    total / 2
                } else {
                    total.div_ceil(2)
                };
                s.after = total - s.before;
            }
            Ok(s)
        };
        outputs.into_iter().enumerate().map(slide).collect()
    }
}

impl Slide {
    /// An axis of one element, to fill up to three axes.
    pub const POINT: Slide = Slide {
        kernel: 1,
        stride: 1,
        dilation: 1,
        before: 0,
        after: 0,
        input: 1,
        output: 1,
    };

    /// The windows whose place `tap` lies on an element.
    pub fn outputs_of(&self, tap: usize) -> Range<usize> {
        let at = tap * self.dilation;
        let first = self.before.saturating_sub(at).div_ceil(self.stride);
        // The element behind the last one reached is at `input + before - at`.
        let end = (self.input + self.before)
            .saturating_sub(at)
            .div_ceil(self.stride);
        first.min(self.output)..end.min(self.output)
    }

    /// The places of window `out` that lie on elements.
    pub fn taps_of(&self, out: usize) -> Range<usize> {
        let at = out * self.stride;
        let first = self.before.saturating_sub(at).div_ceil(self.dilation);
        let end = (self.input + self.before)
            .saturating_sub(at)
            .div_ceil(self.dilation);
        first.min(self.kernel)..end.min(self.kernel)
    }

    /// How many places of window `out` lie on elements or padding.
    pub fn padded_taps(&self, out: usize) -> usize {
        let room = (self.input + self.before + self.after).saturating_sub(out * self.stride);
        room.div_ceil(self.dilation).min(self.kernel)
    }

    /// The element at place `tap` of window `out`, which must lie on one.
    pub fn at(&self, out: usize, tap: usize) -> usize {
        out * self.stride + tap * self.dilation - self.before
    }

    /// True if every window is one element and all elements are covered in order.
    pub fn is_identity(&self) -> bool {
        let Slide { kernel, stride, .. } = *self;
        (kernel, stride, self.before, self.after) == (1, 1, 0, 0)
    }
}

/// Fills up to three axes from the front.
pub(super) fn three(op: &str, slides: &[Slide]) -> Result<[Slide; 3]> {
    if slides.len() > 3 {
        let what = format!("{} spatial axes; at most 3 are supported", slides.len());
        return Err(Error::op(op, what));
    }
    let mut out = [Slide::POINT; 3];
    out[3 - slides.len()..].copy_from_slice(slides);
    Ok(out)
}

/// Where the channels lie in a tensor of batch, channels and spatial axes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Batch, channels, spatial axes: ONNX's order.
    #[default]
    ChannelsFirst,
    /// Batch, spatial axes, channels: the order that kernels are fast in.
    ChannelsLast,
}

impl Layout {
    /// Reads the attribute `layout`, this engine's own.
    pub fn read(attrs: &Attrs) -> Result<Layout> {
        match attrs.or("layout", String::new())?.as_str() {
            "" | "NCHW" => Ok(Layout::ChannelsFirst),
            "NHWC" => Ok(Layout::ChannelsLast),
            other => Err(Error::op(attrs.op(), format!("layout {other:?}"))),
        }
    }

    /// The inverse of [`Layout::read`]; ONNX's order is left out.
    pub fn write(self, attrs: Attrs) -> Attrs {
        match self {
            Layout::ChannelsFirst => attrs,
            Layout::ChannelsLast => attrs.with("layout", "NHWC".to_string()),
        }
    }

    /// A list in this layout's order of axes, brought to channels first.
    pub fn to_first<T: Clone>(self, own: &[T]) -> Vec<T> {
        match (self, own) {
            (Layout::ChannelsLast, [batch, spatial @ .., channels]) => {
                [&[batch.clone(), channels.clone()], spatial].concat()
            }
            _ => own.to_vec(),
        }
    }

    /// The inverse of [`Layout::to_first`].
    pub fn from_first<T: Clone>(self, first: &[T]) -> Vec<T> {
        match (self, first) {
            (Layout::ChannelsLast, [batch, channels, spatial @ ..]) => [
                std::slice::from_ref(batch),
                spatial,
                std::slice::from_ref(channels),
            ]
            .concat(),
            _ => first.to_vec(),
        }
    }

    /// A tensor in this layout, brought to channels first.
    pub fn tensor_to_first(self, own: &HostTensor) -> Result<HostTensor> {
        self.moved(own, self.to_first(&(0..own.rank()).collect::<Vec<_>>()))
    }

    /// The inverse of [`Layout::tensor_to_first`].
    pub fn tensor_from_first(self, first: &HostTensor) -> Result<HostTensor> {
        let axes: Vec<usize> = (0..first.rank()).collect();
        self.moved(first, self.from_first(&axes))
    }

    fn moved(self, tensor: &HostTensor, order: Vec<usize>) -> Result<HostTensor> {
        if self == Layout::ChannelsFirst {
            return Ok(tensor.clone());
        }
        let from = tensor.shape().strides();
        let strides: Vec<isize> = order.iter().map(|&a| from[a]).collect();
        let shape: Shape = order.iter().map(|&a| tensor.shape()[a]).collect();
        Ok(tensor.select(&shape, shape.offsets([&strides]).flatten())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_agree_with_positions(
            (kernel, stride, dilation) in (1usize..5, 1usize..4, 1usize..4),
            (before, after, input, ceil) in (0usize..5, 0usize..5, 1usize..12, any::<bool>()),
        ) {
            let window = Window {
                strides: vec![stride as i64],
                dilations: vec![dilation as i64],
                pads: vec![before as i64, after as i64],
                ceil,
                ..Window::default()
            };
            let Ok(slides) = window.slides("Test", &[input], &[kernel]) else {
                return Ok(());
            };
            let s = slides[0];
            let on = |out: usize, tap: usize| {
                let at = (out * stride + tap * dilation).wrapping_sub(before);
                at < input
            };
            for out in 0..s.output {
                let taps: Vec<usize> = (0..kernel).filter(|&t| on(out, t)).collect();
                prop_assert_eq!(s.taps_of(out).collect::<Vec<_>>(), taps);
                let padded = (0..kernel)
                    .filter(|t| out * stride + t * dilation < before + input + after)
                    .count();
                prop_assert_eq!(s.padded_taps(out), padded);
                prop_assert!(out * stride < input + before || !ceil);
            }
            for tap in 0..kernel {
                let outs: Vec<usize> = (0..s.output).filter(|&o| on(o, tap)).collect();
                let range = s.outputs_of(tap);
                prop_assert_eq!(range.collect::<Vec<_>>(), outs);
            }
        }
    }

    #[test]
    fn kernels_of_inputs_are_bounded() {
        let window = Window {
            dilations: vec![3],
            auto_pad: AutoPad::SameLower,
            ..Window::default()
        };
        for kernel in [MOST as usize + 1, i64::MAX as usize, usize::MAX] {
            assert!(window.slides("Test", &[6], &[kernel]).is_err(), "{kernel}");
        }
        assert!(window.slides("Test", &[6], &[MOST as usize]).is_ok());
    }

    #[test]
    fn same_padding_splits_unevenly() {
        let window = |auto_pad| Window {
            strides: vec![2],
            auto_pad,
            ..Window::default()
        };
        let pads = |auto_pad| {
            let s = window(auto_pad).slides("Test", &[6], &[3]).unwrap()[0];
            (s.before, s.after, s.output)
        };
        assert_eq!(pads(AutoPad::SameUpper), (0, 1, 3));
        assert_eq!(pads(AutoPad::SameLower), (1, 0, 3));
    }

    #[test]
    fn layouts_are_inverse() {
        let t = crate::samples::uniform(&[2, 3, 4, 5], 1);
        let first = Layout::ChannelsLast.tensor_to_first(&t).unwrap();
        assert_eq!(&first.shape()[..], [2, 5, 3, 4]);
        assert_eq!(Layout::ChannelsLast.tensor_from_first(&first).unwrap(), t);
    }
}
