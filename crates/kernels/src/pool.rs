//! Pooling over windows: maximum, mean and p-norm, channels first or last.

use tilewright_device::{Caps, Dispatch, Variant, fold_groups};

use crate::error::index;
use crate::{Error, Result, Store, View};

const KERNEL: &str = "pool";

/// Threads of a workgroup.
const THREADS: u32 = 64;

/// What becomes of the elements under a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PoolMode {
    /// The largest; NaN never is.
    Max,
    /// The sum by the number of elements, with or without those on padding.
    Mean {
        /// Padding counts as elements of value 0.
        count_padding: bool,
    },
    /// (sum |x|^p)^(1/p).
    Norm {
        /// p, at least 1.
        power: f32,
    },
}

/// Sizes of a pooling. Arrays are (depth, height, width); leading axes of lower ranks have extent and stride 1, pads 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolShape {
    /// Images.
    pub images: usize,
    /// Channels.
    pub channels: usize,
    /// Whether channels are the innermost axis, else the one behind the images.
    pub channels_last: bool,
    /// Spatial extents of the input.
    pub input: [usize; 3],
    /// Spatial extents of the output.
    pub output: [usize; 3],
    /// Places of a window.
    pub kernel: [usize; 3],
    /// Distance of neighbouring windows.
    pub stride: [usize; 3],
    /// Distance of neighbouring places in a window.
    pub dilation: [usize; 3],
    /// Padding before the first element.
    pub before: [usize; 3],
    /// Padding behind the last element.
    pub after: [usize; 3],
}

impl PoolShape {
    /// Elements between neighbours along the innermost spatial axis.
    fn inner(&self) -> usize {
        if self.channels_last { self.channels } else { 1 }
    }
}

/// Offsets of the maxima, as ONNX MaxPool numbers them: in the whole input with channels first.
#[derive(Debug, Clone, Copy)]
pub struct PoolIndices<'a> {
    /// Where they go: i32 of the output's shape.
    pub view: &'a View,
    /// They count the spatial axes with the first one fastest.
    pub columns: bool,
}

/// Pools x into y, both f32; integers too for [`PoolMode::Max`].
///
/// # Errors
/// [`Error::Shape`] where a tensor has another number of elements, [`Error::Storage`], [`Error::TooLarge`].
pub fn pool(
    caps: &Caps,
    shape: &PoolShape,
    mode: PoolMode,
    x: &View,
    y: &View,
    indices: Option<PoolIndices<'_>>,
) -> Result<Vec<Dispatch>> {
    let planes = shape.images * shape.channels;
    holds("x", x, planes * shape.input.iter().product::<usize>())?;
    holds("y", y, planes * shape.output.iter().product::<usize>())?;
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    let inner = shape.inner();
    let vec = inner.is_multiple_of(4);
    let lanes = if vec { 4 } else { 1 };
    let (variant, lowest) = elements(mode, x, y, vec)?;
    let variant = match mode {
        PoolMode::Max => variant.part("pool_max").set("PAD_COUNTS", false),
        PoolMode::Mean { count_padding } => {
            variant.part("pool_mean").set("PAD_COUNTS", count_padding)
        }
        PoolMode::Norm { power } => {
            let known = [1.0, 2.0].iter().position(|&p| p == power);
            let known = known.map_or(0, |at| at as u32 + 1);
            variant
                .part("pool_norm")
                .set("POWER", known)
                .set("PAD_COUNTS", false)
        }
    };
    let variant = match indices {
        Some(_) if vec => variant.part("lanes_four").part("pool_index"),
        Some(_) => variant.part("lanes_one").part("pool_index"),
        None => variant.part("pool_no_index"),
    };
    let size = |n: usize| index(KERNEL, "an extent", n);
    let axes = |[d, h, w]: [usize; 3]| -> Result<[u32; 4]> {
        Ok([size(d)?, size(h)?, size(w)?, size(inner / lanes)?])
    };
    let padded = [0, 1, 2].map(|i| shape.input[i] + shape.before[i] + shape.after[i]);
    index(KERNEL, "the number of elements", x.elements())?;
    let count = size(y.elements() / lanes)?;
    let taps: usize = shape.kernel.iter().product();
    let mut dispatch = Dispatch::new(variant)
        .bind("X", x.span)
        .bind("Y", y.span)
        .param("in_size", axes(shape.input)?)
        .param("out_size", axes(shape.output)?)
        .param("kernel", axes(shape.kernel)?)
        .param("stride", axes(shape.stride)?)
        .param("dilation", axes(shape.dilation)?)
        .param("pad", axes(shape.before)?)
        .param("padded", axes(padded)?)
        .param("count", count)
        .param("lowest", lowest)
        .groups(fold_groups(
            u64::from(count.div_ceil(THREADS)),
            caps.limits.groups,
        ))
        .work(4 * (y.elements() as u64).saturating_mul(taps as u64));
    if let PoolMode::Norm { power } = mode {
        dispatch = dispatch.param("power", power);
    }
    if let Some(PoolIndices { view, columns }) = indices {
        holds("indices", view, y.elements())?;
        let channels = if shape.channels_last {
            shape.channels
        } else {
            1
        };
        dispatch = dispatch
            .bind("INDICES", view.span)
            .param("channels", size(channels)?)
            .param("columns", u32::from(columns));
    }
    Ok(vec![dispatch])
}

/// The variant for the elements' type, and the bits of the value that a window starts from.
fn elements(mode: PoolMode, x: &View, y: &View, vec: bool) -> Result<(Variant, u32)> {
    let of = |scalar, four, lowest| (scalar, if vec { four } else { scalar }, lowest);
    let max = mode == PoolMode::Max;
    let (scalar, elem, lowest) = match x.store {
        Store::F32 if max => of("f32", "vec4<f32>", f32::NEG_INFINITY.to_bits()),
        Store::F32 => of("f32", "vec4<f32>", 0),
        Store::I32 if max => of("i32", "vec4<i32>", i32::MIN.cast_unsigned()),
        Store::U32 if max => of("u32", "vec4<u32>", 0),
        store => {
            return Err(Error::Storage {
                kernel: KERNEL,
                operand: "x",
                store,
            });
        }
    };
    if y.store != x.store {
        return Err(Error::Storage {
            kernel: KERNEL,
            operand: "y",
            store: y.store,
        });
    }
    let variant = Variant::new("pool")
        .set("THREADS", THREADS)
        .alias("Scalar", scalar)
        .alias("Elem", elem)
        .alias("Index", if vec { "vec4<u32>" } else { "u32" });
    Ok((variant, lowest))
}

fn holds(name: &str, view: &View, elements: usize) -> Result<()> {
    if view.elements() == elements {
        return Ok(());
    }
    let what = format!("{name} is {view}, expected {elements} elements");
    Err(Error::shape(KERNEL, what))
}
