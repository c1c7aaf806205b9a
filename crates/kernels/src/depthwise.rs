//! Depthwise convolution in NHWC: every channel has its own filter.

use tilewright_device::{AdapterKind, Caps, Dispatch, Set, Variant, fold_groups};
use tilewright_tensor::HostTensor;

use crate::conv::{Filter, axes, hold, holds, window};
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
/// The longest side of a kernel that is repeated in the text.
const MAX_TILED: usize = 5;
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
    let walk = Walk::of(caps, shape);
    let variant = operands(caps, walk.variant(shape), loader(x, part, vec), b, y)?;
    // At most: a narrow kernel takes a row a round.
    let [d, h, w] = shape.kernel;
    check_rounds(KERNEL, caps, d.saturating_mul(h).saturating_mul(w + 2))?;
    let size = |n| index(KERNEL, "an extent", n);
    let [_, height, width] = shape.output;
    let [rows, columns] = walk.outputs;
    let (tiles_y, tiles_x) = (height.div_ceil(rows), width.div_ceil(columns));
    let tiles = pixels / (height * width) * tiles_y * tiles_x;
    // Threads count tiles times channels in u32.
    let groups = size(tiles.saturating_mul(channels.div_ceil(4)))?.div_ceil(THREADS);
    let mut dispatch = Dispatch::new(variant)
        .bind("A", x.span)
        .bind("B", b.view.span)
        .bind("C", y.span)
        .param("m", size(pixels)?)
        .param("n", size(channels)?)
        .param("n4", size(channels.div_ceil(4))?)
        .param("a_ld", size(channels)?)
        .param("c_ld", size(channels)?)
        .param("tiles_x", size(tiles_x)?)
        .param("tiles", size(tiles)?)
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
    dispatch = walk.params(shape, dispatch)?;
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
    let variant = a.add(KERNEL, caps, variant, FLOAT, "A")?;
    let variant = b.add(KERNEL, caps, variant, FLOAT, "B")?;
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

/// How outputs are shared among threads.
struct Walk {
    /// Outputs of a thread along y and x.
    outputs: [usize; 2],
    /// Whether the sizes of kernel and stride are constants of the shader: `depthwise_tile`.
    known: bool,
}

impl Walk {
    fn of(caps: &Caps, shape: &ConvShape) -> Self {
        let plain = shape.kernel[0] == 1 && shape.dilation == [1; 3] && shape.stride[0] == 1;
        let flat = plain && [shape.input[0], shape.output[0]] == [1, 1];
        let small = shape.kernel[1..].iter().all(|&k| k <= MAX_TILED)
            && shape.stride[1..].iter().all(|&s| s <= 2);
        // On GPUs a tile takes so many registers that too few threads are there to hide the loads.
        if caps.kind == AdapterKind::Software && flat && small {
            // Of a larger kernel fewer, for the text repeats every tap for each.
            let few = shape.kernel[1] * shape.kernel[2] > 9;
            let outputs = match shape.output[1] {
                1 => [1, 8],
                2 => [2, 4],
                _ if few => [2, 4],
                _ => [4, 4],
            };
            return Self {
                outputs,
                known: true,
            };
        }
        Self {
            outputs: [1, if shape.output[2] <= 4 { 4 } else { 8 }],
            known: false,
        }
    }

    /// Adds the sizes that the shader does not know.
    fn params(&self, shape: &ConvShape, dispatch: Dispatch) -> Result<Dispatch> {
        if !self.known {
            return window(shape, dispatch);
        }
        let tiles_y = shape.output[1].div_ceil(self.outputs[0]);
        Ok(dispatch
            .param("tiles_y", index(KERNEL, "an extent", tiles_y)?)
            .param("in_size", axes(shape.input)?)
            .param("out_size", axes(shape.output)?)
            .param("pad", axes(shape.pad)?))
    }

    /// The shader for a shape: of known sizes; or with all positions of a known kernel width at once and the window in registers; or
    /// with one position after the other.
    fn variant(&self, shape: &ConvShape) -> Variant {
        let set = |variant: Variant, sets: &[(&'static str, usize)]| {
            let sets = sets.iter();
            sets.fold(variant, |v, &(name, value)| {
                v.set(name, Set::U32(value as u32))
            })
        };
        let ([rows, columns], [_, kh, kw], [_, sy, sx]) =
            (self.outputs, shape.kernel, shape.stride);
        let variant = match self.known {
            true => set(
                Variant::new("depthwise_tile"),
                &[
                    ("YO", rows),
                    ("XO", columns),
                    ("KH", kh),
                    ("KW", kw),
                    ("SY", sy),
                    ("SX", sx),
                    ("TAPS", kh * kw),
                    ("ROWS", (rows - 1) * sy + kh),
                    ("SPAN", (columns - 1) * sx + kw),
                ],
            ),
            false => {
                let slides = kw <= MAX_WIDTH && sx <= 2 && shape.dilation[2] == 1;
                let (width, stride) = if slides { (kw, sx) } else { (1, 1) };
                let sizes = [
                    ("XO", columns),
                    ("KW", width),
                    ("SX", stride),
                    ("SPAN", (columns - 1) * stride + width),
                ];
                set(Variant::new("depthwise"), &sizes).set("RUN_X", !slides)
            }
        };
        let variant = variant.set("THREADS", THREADS).alias("Elem", FLOAT.elem);
        variant.alias("Acc", FLOAT.acc).alias("Value", FLOAT.value)
    }
}
