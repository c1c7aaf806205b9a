//! Depthwise convolution in NHWC: every channel has its own filter.

use tilewright_device::{AdapterKind, Caps, Dispatch, Variant, fold_groups};
use tilewright_tensor::HostTensor;

use crate::conv::{Filter, hold, holds, window};
use crate::error::index;
use crate::pack::{Panels, host};
use crate::product::{FLOAT, Loader, store};
use crate::rounds::check_rounds;
use crate::{ConvShape, Epilogue, Error, Result, View};

const KERNEL: &str = "depthwise";
/// Threads of a workgroup: two to eight subgroups, and a small tail where outputs are few.
const THREADS: u32 = 64;
/// The widest kernel whose window is kept in registers: 8 outputs at stride 2 see 21 inputs.
const MAX_WIDTH: usize = 7;
/// Kernel positions of a lone channel: well below what one thread's loops go through (docs/shaders.md, "Loops").
const MAX_ALONE: usize = 1 << 14;

impl ConvShape {
    /// Whether [`depthwise`] computes this: one input and one output channel a group. A lone channel under a very large kernel
    /// is a long product instead, which threads can share.
    #[must_use]
    pub fn is_depthwise(&self) -> bool {
        let alone = self.groups == 1 && self.kernel.iter().product::<usize>() > MAX_ALONE;
        self.groups == self.in_channels && self.groups == self.out_channels && !alone
    }
}

/// Packs a constant filter of \[channels, 1, kernel..\] as \[kernel positions, channels rounded up to 4\]. f32 and f16.
///
/// # Errors
/// [`Error::Shape`] for another shape or dtype.
pub fn pack_depthwise(shape: &ConvShape, w: &HostTensor) -> Result<HostTensor> {
    let taps: usize = shape.kernel.iter().product();
    let mut expected = vec![shape.out_channels, 1];
    expected.extend(&shape.kernel[3 - shape.rank..]);
    if !shape.is_depthwise() || w.shape()[..] != expected[..] {
        return Err(Error::shape(
            KERNEL,
            format!("a filter of {} for {shape:?}", w.shape()),
        ));
    }
    let panels = Panels {
        n: shape.out_channels,
        k: taps,
        blocks: 1,
        width: shape.out_channels.next_multiple_of(4),
    };
    // One panel as wide as C, of which the rows that pad k are not kept.
    let packed = panels.pack(w, 1, |_, _, tap, c| c * taps + tap)?;
    let kept = 0..taps * panels.width;
    packed.select([taps, panels.width], kept).map_err(host)
}

/// Y = epilogue(depthwise conv(X, filter)), X and Y \[n, spatial.., channels\] in f32 or f16. The filter is
/// [`pack_depthwise`]'s, or \[channels, kernel.., 1\].
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn depthwise(
    caps: &Caps,
    shape: &ConvShape,
    x: &View,
    filter: Filter<'_>,
    y: &View,
    epilogue: Option<&Epilogue>,
) -> Result<Vec<Dispatch>> {
    shape.check(KERNEL)?;
    if !shape.is_depthwise() {
        return Err(Error::shape(KERNEL, format!("not depthwise: {shape:?}")));
    }
    let (channels, pixels) = (shape.in_channels, shape.pixels());
    hold(shape, x, y)?;
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    let (taps, b) = weights(shape, filter)?;
    let vec = channels % 4 == 0;
    let part = if vec { "a_four" } else { "a_four_any" };
    let (variant, outputs) = walk(shape);
    let variant = operands(caps, variant, loader(x, part, vec), b, y)?;
    // At most: a narrow kernel takes a row a round.
    let [d, h, w] = shape.kernel;
    check_rounds(KERNEL, caps, d.saturating_mul(h).saturating_mul(w + 2))?;
    let x_runs = shape.output[2].div_ceil(outputs);
    let runs = pixels / shape.output[2] * x_runs;
    let size = |n| index(KERNEL, "an extent", n);
    // Threads count runs times channels in u32.
    let groups = size(runs.saturating_mul(channels.div_ceil(4)))?.div_ceil(THREADS);
    let mut dispatch = Dispatch::new(variant)
        .bind("A", x.span)
        .bind("B", b.view.span)
        .bind("C", y.span)
        .param("m", size(pixels)?)
        .param("n", size(channels)?)
        .param("n4", size(channels.div_ceil(4))?)
        .param("a_ld", size(channels)?)
        .param("c_ld", size(channels)?)
        .param("x_runs", size(x_runs)?)
        .param("runs", size(runs)?)
        .groups(fold_groups(groups.into(), caps.limits.groups))
        .work(2 * pixels as u64 * channels as u64 * taps as u64);
    if !vec {
        dispatch = dispatch.param("a_count", size(x.elements())?);
    }
    if !b.vec {
        dispatch = dispatch.param("f_taps", size(taps)?);
    }
    for batch in ["a_batch", "b_batch", "c_batch"] {
        dispatch = dispatch.param(batch, 0u32);
    }
    dispatch = window(shape, dispatch)?;
    if let Some(epilogue) = epilogue {
        dispatch = epilogue.add(dispatch);
    }
    Ok(vec![dispatch])
}

/// Adds the loaders and the store.
fn operands(
    caps: &Caps,
    variant: Variant,
    a: Loader<'_>,
    b: Loader<'_>,
    y: &View,
) -> Result<Variant> {
    let words = caps.int64 && caps.kind == AdapterKind::Software;
    let variant = a.add(KERNEL, caps, variant, FLOAT, "A", words)?;
    let variant = b.add(KERNEL, caps, variant, FLOAT, "B", words)?;
    let variant = store(KERNEL, caps, variant, FLOAT, y, a.vec)?;
    Ok(FLOAT.add(variant.part("batch_one").part("c_rows")))
}

/// The positions of the kernel, and how the filter is loaded.
fn weights<'a>(shape: &ConvShape, filter: Filter<'a>) -> Result<(usize, Loader<'a>)> {
    let (taps, channels) = (shape.kernel.iter().product::<usize>(), shape.in_channels);
    let (of, width) = match filter {
        Filter::Packed(view) => (loader(view, "f_packed", true), channels.next_multiple_of(4)),
        Filter::Ohwi(view) => (loader(view, "f_channels", false), channels),
    };
    holds("the filter", of.view, taps * width)?;
    Ok((taps, of))
}

fn loader<'a>(view: &'a View, part: &'static str, vec: bool) -> Loader<'a> {
    Loader { view, part, vec }
}

/// The walk along x: all positions of a known kernel width at once with the window in registers, or one by one. Also the
/// number of outputs a thread computes.
fn walk(shape: &ConvShape) -> (Variant, usize) {
    let outputs = if shape.output[2] <= 4 { 4 } else { 8 };
    let slides = shape.kernel[2] <= MAX_WIDTH && shape.stride[2] <= 2 && shape.dilation[2] == 1;
    let (width, stride) = if slides {
        (shape.kernel[2], shape.stride[2])
    } else {
        (1, 1)
    };
    let span = (outputs - 1) * stride + width;
    let variant = Variant::new("depthwise")
        .set("THREADS", THREADS)
        .set("XO", outputs as u32)
        .set("KW", width as u32)
        .set("SX", stride as u32)
        .set("SPAN", span as u32)
        .set("RUN_X", !slides);
    let variant = variant.alias("Elem", FLOAT.elem);
    (
        variant.alias("Acc", FLOAT.acc).alias("Value", FLOAT.value),
        outputs,
    )
}
