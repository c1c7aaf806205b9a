//! What the operators that move elements without computing on them share.

use crate::dim::Dim;
use crate::fact::axis_index;
use crate::lower::{Lower, Place, Placing};
use crate::{Bindings, Error, Fact, Result};
use tilewright_device::Caps;
use tilewright_kernels::{Region, Strides, View, copy};
use tilewright_tensor::HostTensor;

/// A tensor of `shape` whose elements all come from `data`.
pub(super) fn moved(data: &Fact, shape: impl Into<Vec<Dim>>) -> Fact {
    let fact = Fact::new(data.dtype, shape);
    match data.range() {
        Some((low, high)) => fact.with_range(low, high),
        None => fact,
    }
}

/// Plain sizes as symbolic ones.
pub(super) fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&n| n.into()).collect()
}

/// Symbolic sizes as plain ones, where no symbol is left in them.
pub(super) fn sizes(dims: &[Dim]) -> Result<Vec<usize>> {
    let fact = Fact::new(tilewright_tensor::DType::U8, dims);
    fact.bind(&Bindings::default())
}

/// The size that two axes must share; a symbol may turn out to be any number.
pub(super) fn same_size(op: &str, a: &Dim, b: &Dim) -> Result<Dim> {
    match (a.known(), b.known()) {
        (Some(x), Some(y)) if x != y => {
            Err(Error::op(op, format!("sizes {x} and {y} must be equal")))
        }
        (None, Some(_)) => Ok(b.clone()),
        _ => Ok(a.clone()),
    }
}

/// Data types that must be equal.
pub(super) fn same_dtype(op: &str, a: &Fact, b: &Fact) -> Result<()> {
    if a.dtype == b.dtype {
        return Ok(());
    }
    let what = format!("types {} and {} must be equal", a.dtype, b.dtype);
    Err(Error::op(op, what))
}

/// Distinct axes of a tensor of `rank` dimensions; negative ones count from the end.
pub(super) fn axes_of(op: &str, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut out = Vec::with_capacity(axes.len());
    for &axis in axes {
        let axis = axis_index(op, axis, rank)?;
        if out.contains(&axis) {
            return Err(Error::op(op, format!("axis {axis} is named twice")));
        }
        out.push(axis);
    }
    Ok(out)
}

/// The element that `index` names in an axis of `size` elements; negative ones count from the end.
pub(super) fn element(op: &str, index: i64, size: usize) -> Result<usize> {
    let from_start = if index < 0 {
        index.checked_add_unsigned(size as u64)
    } else {
        Some(index)
    };
    from_start
        .and_then(|i| usize::try_from(i).ok())
        .filter(|&i| i < size)
        .ok_or_else(|| {
            let what = format!("index {index} is outside an axis of {size} elements");
            Error::op(op, what)
        })
}

/// The tensor whose axis `i` is axis `perm[i]` of `data`.
pub(super) fn transposed(data: &HostTensor, perm: &[usize]) -> Result<HostTensor> {
    let strides = data.shape().strides();
    let shape: Vec<usize> = perm.iter().map(|&p| data.shape()[p]).collect();
    let steps: Vec<isize> = perm.iter().map(|&p| strides[p]).collect();
    let shape = tilewright_tensor::Shape::new(shape);
    let offsets = shape.offsets([&steps]).flatten();
    Ok(data.select(&shape, offsets)?)
}

/// No axis that the device sees is longer: so many 32-bit words are 4 GiB, more than a binding can hold.
pub(super) const LONGEST: i64 = 1 << 30;

/// The device, if it stores output 0 and these inputs; but sizes, which are known before a run, stay on the host.
pub(super) fn place(cx: &Placing<'_>, inputs: &[usize]) -> Place {
    if !cx.outputs.is_empty() && cx.outputs.iter().all(Fact::is_symbolic) {
        return Place::host("arithmetic on sizes");
    }
    cx.by_storage_of(inputs)
}

/// Emits the copy of elements of `from`, walked by `strides`, to all of `to`.
pub(super) fn emit_copy(
    cx: &mut Lower<'_>,
    from: &View,
    strides: Strides,
    to: &View,
) -> Result<()> {
    let region = Region {
        shape: to.shape.clone(),
        from: strides,
        to: Strides::of(&to.shape),
    };
    let dispatches = copy(cx.caps(), from, to, &region)?;
    cx.emit(dispatches);
    Ok(())
}

/// The bits by which kernels are given the one element of a tensor: those of the device, or of f32 for f16.
pub(super) fn word(tensor: &HostTensor) -> Result<u32> {
    let bytes = crate::convert::to_device(tensor, "a scalar", &Caps::webgpu_default())?;
    match bytes.first_chunk() {
        Some(first) => Ok(u32::from_le_bytes(*first)),
        None => Err(Error::Graph("a scalar without an element".into())),
    }
}
