//! Pooling over windows: maximum, mean and p-norm, channels first or last.

use tilewright_device::{Caps, Dispatch, Variant, fold_groups};

use crate::error::index;
use crate::rounds::most_rounds;
use crate::walk::{loaded, slim};
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
    /// By the names of the shader.
    fn extents(&self) -> [(&'static str, [usize; 3]); 7] {
        let padded = [0, 1, 2].map(|i| self.input[i] + self.before[i] + self.after[i]);
        [
            ("in_size", self.input),
            ("out_size", self.output),
            ("kernel", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
            ("pad", self.before),
            ("padded", padded),
        ]
    }

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

/// Whether a window's taps are cut into several dispatches, which hand sums on in y: it is to be f32 then.
#[must_use]
pub fn pool_is_cut(caps: &Caps, shape: &PoolShape) -> bool {
    boxes(shape.kernel, most_rounds(caps)).len() > 1
}

/// Pools x into y, each f32 or f16; integers too for [`PoolMode::Max`].
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
    let variant = reduced(variant, mode, lanes);
    let variant = match indices {
        Some(_) if vec => variant.part("lanes_four").part("pool_index"),
        Some(_) => variant.part("lanes_one").part("pool_index"),
        None => variant.part("pool_no_index"),
    };
    let size = |n: usize| index(KERNEL, "an extent", n);
    let axes = |[d, h, w]: [usize; 3]| -> Result<[u32; 4]> {
        Ok([size(d)?, size(h)?, size(w)?, size(inner / lanes)?])
    };
    index(KERNEL, "the number of elements", x.elements())?;
    let count = size(y.elements() / lanes)?;
    let taps: usize = shape.kernel.iter().product();
    let boxes = boxes(shape.kernel, most_rounds(caps));
    let mut dispatch = Dispatch::new(variant.set("BOXED", boxes.len() > 1))
        .bind("X", x.span)
        .bind("Y", y.span)
        .param("count", count)
        .param("lowest", lowest)
        .groups(fold_groups(
            count.div_ceil(THREADS).into(),
            caps.limits.groups,
        ))
        .work(4 * (y.elements() as u64).saturating_mul(taps as u64) / boxes.len().max(1) as u64);
    for (name, extents) in shape.extents() {
        dispatch = dispatch.param(name, axes(extents)?);
    }
    if let PoolMode::Norm { power } = mode {
        dispatch = dispatch.param("power", power);
    }
    if let Some(PoolIndices { view, columns }) = indices {
        holds("indices", view, y.elements())?;
        let channels = shape.channels_last.then_some(shape.channels);
        dispatch = dispatch
            .bind("INDICES", view.span)
            .param("channels", size(channels.unwrap_or(1))?)
            .param("columns", u32::from(columns));
    }
    in_boxes(&dispatch, &boxes, axes)
}

/// What is done with the elements of a window, `lanes` at once.
fn reduced(variant: Variant, mode: PoolMode, lanes: usize) -> Variant {
    match mode {
        PoolMode::Max => variant.part("pool_max").set("PAD_COUNTS", false),
        PoolMode::Mean { count_padding } => {
            variant.part("pool_mean").set("PAD_COUNTS", count_padding)
        }
        PoolMode::Norm { power } => {
            let known = [1.0, 2.0].iter().position(|&p| p == power);
            let known = known.map_or(0, |at| at as u32 + 1);
            variant
                .part("pool_norm")
                .part(slim(lanes))
                .set("POWER", known)
                .set("PAD_COUNTS", false)
        }
    }
}

/// A dispatch for each box of taps, each going on from the one before.
fn in_boxes(
    dispatch: &Dispatch,
    boxes: &[[[usize; 3]; 2]],
    axes: impl Fn([usize; 3]) -> Result<[u32; 4]>,
) -> Result<Vec<Dispatch>> {
    let last = boxes.len().saturating_sub(1);
    let part = |(i, [begin, end]): (usize, &[[usize; 3]; 2])| {
        let part = dispatch.clone();
        Ok(part
            .param("box_begin", axes(*begin)?)
            .param("box_end", axes(*end)?)
            .param("box_later", u32::from(i > 0))
            .param("box_earlier", u32::from(i < last)))
    };
    boxes.iter().enumerate().map(part).collect()
}

/// A window in boxes of taps, in the order of the taps, that loops over three axes go through in `most` rounds each.
fn boxes([d, h, w]: [usize; 3], most: usize) -> Vec<[[usize; 3]; 2]> {
    let wide = w.clamp(1, most);
    // An axis is cut only where the ones inside it are cut to one.
    let row = wide.saturating_add(2);
    let high = if wide < w {
        1
    } else {
        (most / row).clamp(1, h.max(1))
    };
    let plane = high.saturating_mul(row).saturating_add(2);
    let deep = if high < h {
        1
    } else {
        (most / plane).clamp(1, d.max(1))
    };
    let mut all = vec![];
    for z in (0..d).step_by(deep) {
        for y in (0..h).step_by(high) {
            for x in (0..w).step_by(wide) {
                let end = [(z + deep).min(d), (y + high).min(h), (x + wide).min(w)];
                all.push([[z, y, x], end]);
            }
        }
    }
    all
}

/// The variant for the elements' type, and the bits of the value that a window starts from.
fn elements(mode: PoolMode, x: &View, y: &View, vec: bool) -> Result<(Variant, u32)> {
    let of = |scalar, four, lowest| (scalar, if vec { four } else { scalar }, lowest);
    let max = mode == PoolMode::Max;
    let (scalar, elem, lowest) = match x.store {
        Store::F32 | Store::F16 if max => of("f32", "vec4<f32>", f32::NEG_INFINITY.to_bits()),
        Store::F32 | Store::F16 => of("f32", "vec4<f32>", 0),
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
    let float = x.store.is_float() && y.store.is_float();
    if y.store != x.store && !float {
        return Err(Error::Storage {
            kernel: KERNEL,
            operand: "y",
            store: y.store,
        });
    }
    let end = |of: &View| match (of.store.is_float(), vec) {
        (true, true) => loaded(of.store, 4),
        (true, false) => loaded(of.store, 1),
        _ => elem,
    };
    let variant = Variant::new("pool")
        .alias("From", end(x))
        .alias("To", end(y))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_hold_every_tap_once_and_in_order() {
        let axis = |begin: usize, end: usize| begin..end;
        for kernel in [
            [1, 1, 1],
            [2, 3, 4],
            [3, 5, 7],
            [1, 1, 40],
            [4, 1, 9],
            [1, 30, 2],
        ] {
            for most in [4, 10, 25, 60, usize::MAX] {
                let mut taps = vec![];
                for [begin, end] in boxes(kernel, most) {
                    let [d, h, w] = [0, 1, 2].map(|i| end[i] - begin[i]);
                    let rounds = d * (2 + h * (2 + w));
                    assert!(rounds <= most.saturating_add(4), "{kernel:?} in {most}");
                    for z in axis(begin[0], end[0]) {
                        for y in axis(begin[1], end[1]) {
                            taps.extend(axis(begin[2], end[2]).map(|x| [z, y, x]));
                        }
                    }
                }
                assert_eq!(taps.len(), kernel.iter().product::<usize>());
                assert!(taps.is_sorted(), "{kernel:?} in {most}");
            }
        }
    }
}
