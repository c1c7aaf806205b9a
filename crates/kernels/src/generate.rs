//! Small kernels that make or mask tensors element by element: ranges, diagonals, triangles, one-hot rows, reversed sequences.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::fill::{alike, word_sized};
use crate::flat::{flat, words};
use crate::{Error, Result, Store, View};

/// y\[i\] = start + i * step, both as the bits of y's elements: f32, or i32, which wraps (ONNX Range).
///
/// # Errors
/// [`Error::Storage`] for other storages, [`Error::TooLarge`].
pub fn range(caps: &Caps, start: u32, step: u32, y: &View) -> Result<Vec<Dispatch>> {
    const KERNEL: &str = "range";
    let ty = match y.store {
        Store::F32 => "f32",
        Store::I32 => "i32",
        store => {
            let (kernel, operand) = (KERNEL, "y");
            return Err(Error::Storage {
                kernel,
                operand,
                store,
            });
        }
    };
    if y.elements() == 0 {
        return Ok(vec![]);
    }
    let variant = Variant::new("range").alias("T", ty);
    let dispatch = flat(KERNEL, caps, variant, y.elements())?
        .param("start", start)
        .param("step", step);
    Ok(vec![dispatch.bind("Y", y.span).work(y.span.bytes)])
}

/// y\[r, c\] is the element with the bits `one` where c = r + k, else 0 (ONNX EyeLike).
///
/// # Errors
/// [`Error::Shape`] unless y is a matrix, [`Error::Storage`], [`Error::TooLarge`].
pub fn eye(caps: &Caps, k: i64, one: u32, y: &View) -> Result<Vec<Dispatch>> {
    const KERNEL: &str = "eye";
    word_sized(KERNEL, "y", y)?;
    let [_, columns] = y.shape[..] else {
        return Err(Error::shape(KERNEL, format!("{:?} is no matrix", y.shape)));
    };
    if y.elements() == 0 {
        return Ok(vec![]);
    }
    let dispatch = flat(KERNEL, caps, Variant::new("eye"), y.elements())?
        .param("columns", columns as u32)
        .param("k", diagonal(k))
        .param("one", one);
    Ok(vec![dispatch.bind("Y", y.span).work(y.span.bytes)])
}

/// A diagonal within the range of indices; those farther out hold no element either.
fn diagonal(k: i64) -> i32 {
    k.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// y = a with 0 below (`upper`) or above diagonal `k` of its matrices (ONNX Trilu).
///
/// # Errors
/// [`Error::Shape`] unless both are matrices of one shape, [`Error::Storage`], [`Error::TooLarge`].
pub fn trilu(caps: &Caps, a: &View, upper: bool, k: i64, y: &View) -> Result<Vec<Dispatch>> {
    const KERNEL: &str = "trilu";
    alike(KERNEL, caps, a, y)?;
    let [.., rows, columns] = y.shape[..] else {
        return Err(Error::shape(KERNEL, format!("{:?} is no matrix", y.shape)));
    };
    if a.shape != y.shape {
        let what = format!("{:?} is to be {:?}", y.shape, a.shape);
        return Err(Error::shape(KERNEL, what));
    }
    if y.elements() == 0 {
        return Ok(vec![]);
    }
    let variant = Variant::new("trilu")
        .alias("Unit", words(y.store, false))
        .set("UPPER", upper);
    let dispatch = flat(KERNEL, caps, variant, y.elements())?
        .param("rows", rows as u32)
        .param("columns", columns as u32)
        .param("k", diagonal(k))
        .bind("A", a.span)
        .bind("Y", y.span);
    Ok(vec![dispatch.work(2 * y.span.bytes)])
}

/// y\[o, class, j\] = values\[1\] where indices\[o, j\] names the class, else values\[0\]; the classes are `axis` of y (ONNX OneHot).
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Storage`], [`Error::TooLarge`].
pub fn one_hot(
    caps: &Caps,
    indices: &View,
    values: &View,
    axis: usize,
    y: &View,
) -> Result<Vec<Dispatch>> {
    const KERNEL: &str = "one_hot";
    word_sized(KERNEL, "indices", indices)?;
    alike(KERNEL, caps, values, y)?;
    let mut without = y.shape.clone();
    let fits = axis < y.shape.len() && values.elements() == 2;
    if !fits || {
        without.remove(axis);
        without != indices.shape
    } {
        let what = format!("{:?} from indices of {:?}", y.shape, indices.shape);
        return Err(Error::shape(KERNEL, what));
    }
    if y.elements() == 0 {
        return Ok(vec![]);
    }
    let ty = match indices.store {
        Store::F32 => "f32",
        Store::U32 => "u32",
        _ => "i32",
    };
    let inner: usize = y.shape[axis + 1..].iter().product();
    let variant = Variant::new("one_hot")
        .alias("Index", ty)
        .alias("Unit", words(y.store, false));
    let dispatch = flat(KERNEL, caps, variant, y.elements())?
        .param("depth", y.shape[axis] as u32)
        .param("inner", inner as u32)
        .bind("INDICES", indices.span)
        .bind("VALUES", values.span)
        .bind("Y", y.span);
    Ok(vec![dispatch.work(y.span.bytes)])
}

/// y = a with the first `lengths[b]` elements along time reversed, for each entry b of the batch; batch and time are the first
/// two axes, in this order with `time_second` (ONNX ReverseSequence).
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Storage`], [`Error::TooLarge`].
pub fn reverse_sequence(
    caps: &Caps,
    a: &View,
    lengths: &View,
    time_second: bool,
    y: &View,
) -> Result<Vec<Dispatch>> {
    const KERNEL: &str = "reverse_sequence";
    if !crate::gather::ready(KERNEL, caps, a, lengths, y)? {
        return Ok(vec![]);
    }
    let &[first, second, ref rest @ ..] = &y.shape[..] else {
        return Err(Error::shape(KERNEL, format!("{:?}", y.shape)));
    };
    let batch = if time_second { first } else { second };
    if a.shape != y.shape || lengths.shape != [batch] {
        let what = format!("{:?} from {:?}, {:?}", y.shape, a.shape, lengths.shape);
        return Err(Error::shape(KERNEL, what));
    }
    let inner: usize = rest.iter().product();
    let width = if inner.is_multiple_of(4) { 4 } else { 1 };
    let variant = Variant::new("reverse_sequence")
        .alias("Word", words(y.store, width == 4))
        .set("TIME_SECOND", time_second);
    let dispatch = flat(KERNEL, caps, variant, y.elements() / width)?
        .param("first", first as u32)
        .param("second", second as u32)
        .param("inner", (inner / width) as u32)
        .bind("A", a.span)
        .bind("LENGTHS", lengths.span)
        .bind("Y", y.span);
    Ok(vec![dispatch.work(2 * y.span.bytes)])
}
