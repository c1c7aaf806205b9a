//! Gathers: elements and slices picked by index. Indices are int32 on the device; negative ones count from the end, and those
//! outside are moved to the nearest element.

use std::ops::Range;

use tilewright_device::{Caps, Dispatch, Variant};

use crate::copy::axes;
use crate::error::index;
use crate::fill::alike;
use crate::flat::{dims, flat, words};
use crate::{Error, Result, Store, Strides, View};

const KERNEL: &str = "gather";

/// The checks that all gathers share. False where there is nothing to do.
pub(crate) fn ready(
    kernel: &'static str,
    caps: &Caps,
    a: &View,
    indices: &View,
    y: &View,
) -> Result<bool> {
    alike(kernel, caps, a, y)?;
    if indices.store != Store::I32 {
        let (operand, store) = ("indices", indices.store);
        return Err(Error::Storage {
            kernel,
            operand,
            store,
        });
    }
    if y.elements() > 0 && a.elements() == 0 {
        let what = format!("no elements in {:?} to pick from", a.shape);
        return Err(Error::shape(kernel, what));
    }
    index(kernel, "the number of elements", a.elements())?;
    Ok(y.elements() > 0)
}

fn bound(dispatch: Dispatch, a: &View, indices: &View, y: &View) -> Vec<Dispatch> {
    let work = 2 * y.span.bytes + indices.span.bytes;
    let bound = dispatch.bind("A", a.span).bind("INDICES", indices.span);
    vec![bound.bind("Y", y.span).work(work)]
}

/// y\[.., i.., ..\] = a\[.., indices\[i..\], ..\] along `axis` of a (ONNX Gather).
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Storage`], [`Error::TooLarge`].
pub fn gather(
    caps: &Caps,
    a: &View,
    indices: &View,
    axis: usize,
    y: &View,
) -> Result<Vec<Dispatch>> {
    let size = a.shape.get(axis).copied().unwrap_or(0);
    gather_part(caps, a, indices, axis, 0..size, size, y)
}

/// [`gather`] from an axis of `size` elements of which `a` has `part`. What others are picked for is left as it is, so the parts
/// of a tensor are gathered one after the other.
///
/// # Errors
/// As [`gather`].
pub fn gather_part(
    caps: &Caps,
    a: &View,
    indices: &View,
    axis: usize,
    part: Range<usize>,
    size: usize,
    y: &View,
) -> Result<Vec<Dispatch>> {
    if a.shape.get(axis) != Some(&part.len()) || part.end > size {
        let what = format!("{part:?} of {size} along axis {axis} of {a}");
        return Err(Error::shape(KERNEL, what));
    }
    let expected = [&a.shape[..axis], &indices.shape, &a.shape[axis + 1..]].concat();
    if expected != y.shape {
        let what = format!("{:?} is to be {expected:?}", y.shape);
        return Err(Error::shape(KERNEL, what));
    }
    if !ready(KERNEL, caps, a, indices, y)? {
        return Ok(vec![]);
    }
    let inner: usize = a.shape[axis + 1..].iter().product();
    let width = if inner.is_multiple_of(4) { 4 } else { 1 };
    let variant = Variant::new("gather").alias("Word", words(y.store, width == 4));
    let dispatch = flat(KERNEL, caps, variant, y.elements() / width)?
        .param("size", index(KERNEL, "an axis", size)?)
        .param("first", part.start as u32)
        .param("held", part.len() as u32)
        .param("picks", indices.elements() as u32)
        .param("inner", (inner / width) as u32);
    Ok(bound(dispatch, a, indices, y))
}

/// y\[i, j, ..\] = a\[i, indices\[i, j, ..\], ..\] for axis 1; indices and y of one shape, which along the other axes is at most
/// that of a (ONNX GatherElements).
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Storage`], [`Error::TooLarge`].
pub fn gather_elements(
    caps: &Caps,
    a: &View,
    indices: &View,
    axis: usize,
    y: &View,
) -> Result<Vec<Dispatch>> {
    const KERNEL: &str = "gather_elements";
    let within = element_axes(KERNEL, &a.shape, &indices.shape, axis)?;
    if indices.shape != y.shape {
        let what = format!("{:?} is to be {:?}", y.shape, indices.shape);
        return Err(Error::shape(KERNEL, what));
    }
    if !ready(KERNEL, caps, a, indices, y)? {
        return Ok(vec![]);
    }
    let variant = Variant::new("gather_elements")
        .alias("Unit", words(y.store, false))
        .set("OUTER", within.outer);
    let dispatch = flat(KERNEL, caps, variant, y.elements())?
        .param("shape", within.shape)
        .param("by", within.by)
        .param("size", within.size)
        .param("axis_step", within.axis_step);
    Ok(bound(dispatch, a, indices, y))
}

/// Where the elements lie that a tensor of indices names along one axis: the walk along the other axes.
pub(crate) struct ElementAxes {
    /// Axes but the innermost.
    pub(crate) outer: u32,
    pub(crate) shape: [u32; 8],
    pub(crate) by: [u32; 8],
    /// Extent and step of the axis that indices count in.
    pub(crate) size: u32,
    pub(crate) axis_step: u32,
}

/// The walk through a tensor of `shape` that has the place of each index but for the axis.
pub(crate) fn element_axes(
    kernel: &'static str,
    shape: &[usize],
    indices: &[usize],
    axis: usize,
) -> Result<ElementAxes> {
    let mut sizes = shape.iter().zip(indices).enumerate();
    let fits = shape.len() == indices.len() && axis < shape.len();
    if !fits || !sizes.all(|(i, (have, want))| i == axis || want <= have) {
        let what = format!("indices of shape {indices:?} along axis {axis} of {shape:?}");
        return Err(Error::shape(kernel, what));
    }
    let mut by = Strides::of(shape).by;
    let axis_step = std::mem::take(&mut by[axis]) as u32;
    let walk = axes(indices, &by, &Strides::of(indices).by);
    if walk.len() > 8 {
        return Err(Error::shape(kernel, format!("{} axes", walk.len())));
    }
    Ok(ElementAxes {
        outer: walk.len() as u32 - 1,
        shape: dims(walk.iter().map(|a| a.size as u32)),
        by: dims(walk.iter().map(|a| a.from as u32)),
        size: shape[axis] as u32,
        axis_step,
    })
}

/// y\[b.., t.., s..\] = a\[b.., indices\[b.., t.., :\], s..\]: the last axis of the indices holds tuples, which name elements or
/// slices behind `batch` axes that a and the indices share (ONNX GatherND).
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Storage`], [`Error::TooLarge`].
pub fn gather_nd(
    caps: &Caps,
    a: &View,
    indices: &View,
    batch: usize,
    y: &View,
) -> Result<Vec<Dispatch>> {
    const KERNEL: &str = "gather_nd";
    let tuples = tuples(KERNEL, &a.shape, &indices.shape, batch)?;
    let slice = &a.shape[batch + tuples.tuple..];
    let expected = [&indices.shape[..indices.shape.len() - 1], slice].concat();
    if expected != y.shape {
        let what = format!("{:?} is to be {expected:?}", y.shape);
        return Err(Error::shape(KERNEL, what));
    }
    if !ready(KERNEL, caps, a, indices, y)? {
        return Ok(vec![]);
    }
    let width = tuples.width;
    let batches: usize = a.shape[..batch].iter().product();
    let variant = Variant::new("gather_nd")
        .alias("Word", words(y.store, width == 4))
        .set("TUPLE", tuples.tuple as u32);
    let dispatch = flat(KERNEL, caps, variant, y.elements() / width)?
        .param("sizes", tuples.sizes)
        .param("by", tuples.by)
        .param("inner", (tuples.inner / width) as u32)
        .param("batch_tuples", (tuples.count / batches) as u32)
        .param("batch_words", (a.elements() / batches / width) as u32);
    Ok(bound(dispatch, a, indices, y))
}

/// Tuples of indices and the slices that they name.
pub(crate) struct Tuples {
    /// How many tuples.
    pub(crate) count: usize,
    /// Indices in one.
    pub(crate) tuple: usize,
    /// Elements of a slice.
    pub(crate) inner: usize,
    /// Elements moved at once.
    pub(crate) width: usize,
    /// Extents of the axes that the indices count in, and their steps in units of `width`.
    pub(crate) sizes: [u32; 8],
    pub(crate) by: [u32; 8],
}

/// The tuples in `indices` for a tensor of `shape`, behind `batch` shared axes.
pub(crate) fn tuples(
    kernel: &'static str,
    shape: &[usize],
    indices: &[usize],
    batch: usize,
) -> Result<Tuples> {
    let error = || {
        Error::shape(
            kernel,
            format!("indices of shape {indices:?} for {shape:?}"),
        )
    };
    let (&tuple, lead) = indices.split_last().ok_or_else(error)?;
    let named = shape.get(batch..batch + tuple).ok_or_else(error)?;
    if lead.get(..batch) != Some(&shape[..batch]) || tuple > 8 {
        return Err(error());
    }
    let inner: usize = shape[batch + tuple..].iter().product();
    let width = if inner.is_multiple_of(4) { 4 } else { 1 };
    let steps = &Strides::of(shape).by[batch..batch + tuple];
    Ok(Tuples {
        count: lead.iter().product(),
        tuple,
        inner,
        width,
        sizes: dims(named.iter().map(|&n| n as u32)),
        by: dims(steps.iter().map(|&s| s as u32 / width as u32)),
    })
}
