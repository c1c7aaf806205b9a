//! Transposed convolution in NHWC, output-centred: no atomics, no scatter. Also the data gradient of a convolution.

use tilewright_device::{Caps, Dispatch};
use tilewright_tensor::HostTensor;

use crate::batch::Batch;
use crate::conv::{Filter, axes, hold, holds, lead, window};
use crate::error::index;
use crate::pack::{Panels, host};
use crate::product::{FLOAT, Loader, Product};
use crate::{ConvShape, Epilogue, Error, Loop, Result, Target, View, panel_width};

const KERNEL: &str = "conv_transpose";

impl ConvShape {
    /// The sizes of a transposed convolution of X\[n, spatial.., channels\] (ONNX ConvTranspose): the output is
    /// stride * (input - 1) + output_padding + dilation * (kernel - 1) + 1 - pads along every axis. `pads` holds begins then
    /// ends.
    ///
    /// # Errors
    /// [`Error::Shape`] for ranks that differ or are not 1 to 3, zero extents and pads larger than the output.
    pub fn transposed(
        x: &[usize],
        kernel: &[usize],
        strides: &[usize],
        dilations: &[usize],
        pads: &[usize],
        output_padding: &[usize],
        groups: usize,
        out_channels: usize,
    ) -> Result<Self> {
        let rank = kernel.len();
        let sizes = [
            strides.len(),
            dilations.len(),
            output_padding.len(),
            pads.len() / 2,
        ];
        if !(1..=3).contains(&rank) || x.len() != rank + 2 || sizes != [rank; 4] {
            let what = format!(
                "X {x:?}, kernel {kernel:?}, strides {strides:?}: ranks differ or are not 1 to 3"
            );
            return Err(Error::shape(KERNEL, what));
        }
        let mut shape = Self {
            rank,
            images: x[0],
            in_channels: x[rank + 1],
            out_channels,
            groups,
            input: lead(&x[1..=rank], 1),
            output: [1; 3],
            kernel: lead(kernel, 1),
            stride: lead(strides, 1),
            dilation: lead(dilations, 1),
            pad: lead(&pads[..rank], 0),
        };
        shape.check(KERNEL)?;
        let (ends, more) = (lead(&pads[rank..], 0), lead(output_padding, 0));
        for axis in 0..3 {
            let window = shape.dilation[axis] * (shape.kernel[axis] - 1) + 1;
            let full = shape.stride[axis] * (shape.input[axis] - 1) + more[axis] + window;
            let output = full.checked_sub(shape.pad[axis] + ends[axis]);
            shape.output[axis] = output.filter(|&n| n > 0).ok_or_else(|| {
                Error::shape(
                    KERNEL,
                    format!("pads {pads:?} leave nothing of an output of {full}"),
                )
            })?;
        }
        Ok(shape)
    }

    /// The transposed convolution that takes the gradient of Y to that of X, with the same filter.
    #[must_use]
    pub fn data_gradient(&self) -> Self {
        Self {
            in_channels: self.out_channels,
            out_channels: self.in_channels,
            input: self.output,
            output: self.input,
            ..self.clone()
        }
    }

    fn phases(&self) -> usize {
        self.stride.iter().product()
    }

    /// Pixels of a phase along each axis.
    fn phase_size(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.output[axis].div_ceil(self.stride[axis]))
    }
}

/// Packs a constant filter of \[in_channels, out_channels / groups, kernel..\] (ONNX's order for ConvTranspose):
/// \[groups, panels, k, width\].
///
/// # Errors
/// [`Error::Shape`] for another shape or dtype than f32 and f16.
pub fn pack_filter_transposed(
    caps: &Caps,
    shape: &ConvShape,
    w: &HostTensor,
) -> Result<HostTensor> {
    shape.check(KERNEL)?;
    let (ic, oc) = (shape.group_in(), shape.group_out());
    let mut expected = vec![shape.in_channels, oc];
    expected.extend(&shape.kernel[3 - shape.rank..]);
    if w.shape()[..] != expected[..] {
        return Err(Error::shape(
            KERNEL,
            format!("expected a filter of {expected:?}, got {}", w.shape()),
        ));
    }
    let taps: usize = shape.kernel.iter().product();
    let panels = Panels {
        n: oc,
        k: ic,
        blocks: taps,
        width: panel_width(caps),
    };
    let packed = panels.pack(w, shape.groups, |group, tap, k, n| {
        ((group * ic + k) * oc + n) * taps + tap
    })?;
    let [count, rows, width] = panels.shape();
    packed
        .reshape([shape.groups, count, rows, width])
        .map_err(host)
}

/// Y = epilogue(transposed conv(X, filter)), X\[n, spatial.., in_channels\] and Y\[n, spatial.., out_channels\] in f32 or f16.
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn conv_transpose<'a>(
    on: impl Into<Target<'a>>,
    shape: &ConvShape,
    x: &View,
    filter: Filter<'_>,
    y: &View,
    epilogue: Option<&Epilogue>,
) -> Result<Vec<Dispatch>> {
    lowered(on.into(), shape, x, filter, y, epilogue, None)
}

/// [`conv_transpose`] with a loop of the caller's choice.
///
/// # Errors
/// As [`conv_transpose`].
pub fn conv_transpose_with(
    caps: &Caps,
    shape: &ConvShape,
    x: &View,
    filter: Filter<'_>,
    y: &View,
    epilogue: Option<&Epilogue>,
    of: Loop,
) -> Result<Vec<Dispatch>> {
    lowered(caps.into(), shape, x, filter, y, epilogue, Some(of))
}

fn lowered(
    on: Target<'_>,
    shape: &ConvShape,
    x: &View,
    filter: Filter<'_>,
    y: &View,
    epilogue: Option<&Epilogue>,
    of: Option<Loop>,
) -> Result<Vec<Dispatch>> {
    shape.check(KERNEL)?;
    hold(shape, x, y)?;
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    let (ic, oc) = (shape.group_in(), shape.group_out());
    let taps: usize = shape.kernel.iter().product();
    let width = panel_width(on.caps);
    let (b, b_ld, group) = weights(shape, filter, width);
    holds("the filter", b.view, shape.groups * group)?;
    let step = [0, 1, 2].map(|i| shape.stride[i] / gcd(shape.stride[i], shape.dilation[i]));
    let vec = ic % 4 == 0;
    let part = ["a_deconv_any", "a_deconv"][usize::from(vec)];
    // `conv_phase` knows the columns of a group.
    let strides = [&[ic, 0][..], &[group, 0], &[0, 0]];
    let product = Product {
        kernel: KERNEL,
        m: shape.images * shape.phase_size().iter().product::<usize>(),
        n: oc,
        k: ic,
        k_blocks: taps.div_ceil(shape.phases()),
        // `first_tap` tries as many taps of each axis.
        k_search: (0..3).map(|i| step[i].min(shape.kernel[i]) + 1).sum(),
        k_part: "conv_phase",
        c_part: "conv_phase",
        batch: Batch::new(KERNEL, &[shape.groups, shape.phases()], strides)?,
        arithmetic: FLOAT,
        a: Loader { view: x, part, vec },
        b,
        c: y,
        c_ld: shape.out_channels,
        epilogue,
    };
    let of = of.map_or_else(|| product.default_loop(on), Ok)?;
    let size = |n| index(KERNEL, "an extent", n);
    let mut dispatch = (product.dispatch(on.caps, of)?)
        .param("a_ld", size(shape.in_channels)?)
        .param("b_ld", size(b_ld)?)
        .param("group_cols", size(oc)?)
        .param("phase_size", axes(shape.phase_size())?)
        .param("tap_step", axes(step)?);
    if let Filter::Packed(_) = filter {
        dispatch.variant = dispatch.variant.set("PANEL", (width / 4) as u32);
    } else {
        dispatch = dispatch.param("b_step", size(oc)?);
    }
    if b.part == "b_rows" {
        dispatch.variant = dispatch.variant.set("K_TAIL", ic % 4 != 0);
    }
    Ok(vec![window(shape, dispatch)?])
}

/// How a filter is loaded, the rows of a group, and its elements. Panels hold the rows of all taps; the other form
/// interleaves taps with output channels.
fn weights<'a>(shape: &ConvShape, filter: Filter<'a>, width: usize) -> (Loader<'a>, usize, usize) {
    let (ic, oc) = (shape.group_in(), shape.group_out());
    let taps: usize = shape.kernel.iter().product();
    let (view, part, vec) = match filter {
        Filter::Packed(view) => (view, "b_panel", true),
        Filter::Ohwi(view) if oc % 4 == 0 => (view, "b_rows", true),
        Filter::Ohwi(view) => (view, "b_rows_any", false),
    };
    let loader = Loader { view, part, vec };
    if part == "b_panel" {
        let rows = taps * ic.next_multiple_of(4);
        return (loader, rows, oc.div_ceil(width) * rows * width);
    }
    (loader, taps * oc, ic * taps * oc)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
