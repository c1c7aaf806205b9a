//! Linear quantisation, its inverse, and the packing of 8-bit integers.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::error::index;
use crate::flat::flat;
use crate::{Error, Result, Store, View};

const KERNEL: &str = "quantize";

/// Which scale (and zero point) belongs to which element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// There is one.
    Tensor,
    /// One for each index along an axis.
    Axis {
        /// Elements along it.
        size: usize,
        /// Elements from one index to the next.
        inner: usize,
    },
    /// One for each block along an axis, and for each index of the other axes.
    Blocked {
        /// Elements along it.
        size: usize,
        /// Elements from one index to the next.
        inner: usize,
        /// Elements of a block.
        block: usize,
        /// Number of blocks.
        blocks: usize,
    },
}

/// y = clamp(round(x / scale) + zero, low, high) with ties to even; x and scale f32, the zero point and y i32 or u32. With
/// `half` the quotient is rounded to f16 first.
///
/// # Errors
/// [`Error::Shape`] where x and y differ, [`Error::Storage`], [`Error::TooLarge`].
pub fn quantize(
    caps: &Caps,
    x: &View,
    scale: &View,
    zero: Option<&View>,
    y: &View,
    grain: Grain,
    (low, high): (i32, i32),
    half: bool,
) -> Result<Vec<Dispatch>> {
    is_store("y", y, &[Store::I32, Store::U32])?;
    is_store("x", x, &[Store::F32, Store::I32])?;
    let variant = Variant::new("quantize")
        .set("QUANTISE", true)
        .set("HALF", half);
    convert(caps, variant, (x, y), scale, zero, grain, (low, high))
}

/// y = (x - zero) * scale; x and the zero point i32 or u32, scale and y f32.
///
/// # Errors
/// [`Error::Shape`] where x and y differ, [`Error::Storage`], [`Error::TooLarge`].
pub fn dequantize(
    caps: &Caps,
    x: &View,
    scale: &View,
    zero: Option<&View>,
    y: &View,
    grain: Grain,
) -> Result<Vec<Dispatch>> {
    is_store("x", x, &[Store::I32, Store::U32])?;
    is_store("y", y, &[Store::F32])?;
    let variant = Variant::new("quantize")
        .set("QUANTISE", false)
        .set("HALF", false);
    convert(caps, variant, (x, y), scale, zero, grain, (0, 0))
}

fn convert(
    caps: &Caps,
    variant: Variant,
    (x, y): (&View, &View),
    scale: &View,
    zero: Option<&View>,
    grain: Grain,
    (low, high): (i32, i32),
) -> Result<Vec<Dispatch>> {
    if x.elements() != y.elements() {
        return Err(Error::shape(KERNEL, format!("{x} into {y}")));
    }
    is_store("scale", scale, &[Store::F32])?;
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    let (number, [size, inner, block, blocks]) = match grain {
        Grain::Tensor => (0u32, [1; 4]),
        Grain::Axis { size, inner } => (1, [size, inner, 1, 1]),
        Grain::Blocked {
            size,
            inner,
            block,
            blocks,
        } => (2, [size, inner, block, blocks]),
    };
    let ty = |view: &View| match view.store {
        Store::I32 => "i32",
        Store::U32 => "u32",
        _ => "f32",
    };
    let variant = variant
        .part(match zero {
            Some(_) => "quant_zero",
            None => "quant_no_zero",
        })
        .set("GRAIN", number)
        .alias("In", ty(x))
        .alias("Out", ty(y));
    let extent = |n: usize| index(KERNEL, "an extent", n);
    let mut dispatch = flat(KERNEL, caps, variant, y.elements())?
        .bind("X", x.span)
        .bind("SCALE", scale.span)
        .bind("Y", y.span)
        .param("size", extent(size)?)
        .param("inner", extent(inner)?)
        .param("block", extent(block)?)
        .param("blocks", extent(blocks)?)
        .param("low", low as f32)
        .param("high", high as f32)
        .work(8 * y.elements() as u64);
    if let Some(zero) = zero {
        // Zero points of unsigned types are small: their bits are those of the signed number.
        is_store("the zero point", zero, &[Store::I32, Store::U32])?;
        dispatch = dispatch.bind("ZERO", zero.span);
    }
    Ok(vec![dispatch])
}

/// Scale (f32) and zero point (u32) that fit the range `low..high` (f32, one element each), widened to hold 0, into
/// uint8 (ONNX DynamicQuantizeLinear).
#[must_use]
pub fn quant_range(low: &View, high: &View, scale: &View, zero: &View) -> Vec<Dispatch> {
    let dispatch = Dispatch::new(Variant::new("quant_range"))
        .bind("LOW", low.span)
        .bind("HIGH", high.span)
        .bind("SCALE", scale.span)
        .bind("ZERO", zero.span);
    vec![dispatch.work(16)]
}

/// y = x with its integers packed to 8 bits, wrapping; the shapes are equal.
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn pack8(caps: &Caps, x: &View, y: &View) -> Result<Vec<Dispatch>> {
    is_store("x", x, &[Store::I32, Store::U32])?;
    bytes(caps, (x, y), y, false)
}

/// y = x with its 8-bit integers widened; the shapes are equal.
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn unpack8(caps: &Caps, x: &View, y: &View) -> Result<Vec<Dispatch>> {
    is_store("y", y, &[Store::I32, Store::U32])?;
    bytes(caps, (x, y), x, true)
}

fn bytes(
    caps: &Caps,
    (x, y): (&View, &View),
    packed: &View,
    unpack: bool,
) -> Result<Vec<Dispatch>> {
    let Store::Packed8 { signed } = packed.store else {
        return Err(Error::Storage {
            kernel: "pack8",
            operand: "the packed tensor",
            store: packed.store,
        });
    };
    if x.shape != y.shape {
        return Err(Error::shape("pack8", format!("{x} into {y}")));
    }
    if y.elements() == 0 {
        return Ok(Vec::new());
    }
    let columns = packed.last();
    let words = columns.div_ceil(4);
    let count = packed.elements() / columns * words;
    let variant = Variant::new("pack8")
        .set("UNPACK", unpack)
        .set("SIGNED", signed);
    let dispatch = flat("pack8", caps, variant, count)?
        .bind("X", x.span)
        .bind("Y", y.span)
        .param("columns", index("pack8", "an extent", columns)?)
        .param("words", index("pack8", "an extent", words)?)
        .work(5 * packed.elements() as u64);
    Ok(vec![dispatch])
}

fn is_store(operand: &'static str, view: &View, stores: &[Store]) -> Result<()> {
    if stores.contains(&view.store) {
        return Ok(());
    }
    Err(Error::Storage {
        kernel: KERNEL,
        operand,
        store: view.store,
    })
}
