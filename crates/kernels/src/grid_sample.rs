//! Sampling of images at positions of a grid.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::error::index;
use crate::flat::flat;
use crate::{Error, Result, Store, View};

const KERNEL: &str = "grid_sample";

/// Channels of a thread: the taps are found once for them.
const CHUNK: usize = 8;

/// How values between elements are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// The nearest element, of two the even one.
    Nearest,
    /// A mean of two elements along each axis.
    Linear,
    /// Cubic convolution of four along each axis.
    Cubic,
}

/// What lies outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// Zeros.
    Zeros,
    /// The nearest border element.
    Border,
    /// The image mirrored at its border.
    Reflection,
}

/// y\[n, c, places..\] from x\[n, c, (d,) h, w\] at grid\[n, places.., 2 or 3\] in -1..1, the innermost axis first; all f32
/// (ONNX GridSample). With `align` -1 and 1 are the centres of the outermost elements, else their edges.
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn grid_sample(
    caps: &Caps,
    x: &View,
    grid: &View,
    y: &View,
    mode: Sampling,
    outside: Outside,
    align: bool,
) -> Result<Vec<Dispatch>> {
    for (operand, view) in [("x", x), ("the grid", grid), ("y", y)] {
        if view.store != Store::F32 {
            return Err(Error::Storage {
                kernel: KERNEL,
                operand,
                store: view.store,
            });
        }
    }
    let wrong = || Error::shape(KERNEL, format!("{x} sampled at {grid} into {y}"));
    let (images, channels, [d, h, w]) = match x.shape[..] {
        [n, c, h, w] => (n, c, [1, h, w]),
        [n, c, d, h, w] => (n, c, [d, h, w]),
        _ => return Err(wrong()),
    };
    let rank = x.shape.len() - 2;
    let places = grid.elements() / (images * rank).max(1);
    if grid.last() != rank || y.elements() != images * channels * places {
        return Err(wrong());
    }
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    if x.elements() == 0 {
        return Err(wrong());
    }
    let variant = Variant::new("grid_sample")
        .set("CHUNK", CHUNK as u32)
        .set("RANK", rank as u32)
        .set("MODE", mode as u32)
        .set("PAD", outside as u32)
        .set("ALIGN", align);
    let size = |n: usize| index(KERNEL, "an extent", n);
    size(x.elements())?;
    let chunks = channels.div_ceil(CHUNK);
    let taps = [1, 2, 4][mode as usize];
    let dispatch = flat(KERNEL, caps, variant, images * chunks * places)?
        .bind("X", x.span)
        .bind("GRID", grid.span)
        .bind("Y", y.span)
        .param("in_size", [size(d)?, size(h)?, size(w)?, size(channels)?])
        .param("places", size(places)?)
        .param("chunks", size(chunks)?)
        .work((y.elements() * 2 * usize::pow(taps, rank as u32)) as u64);
    Ok(vec![dispatch])
}
