//! Elements along axes as groups: what the references of reductions, softmax and normalisations loop over.

use crate::fact::{Tensors, axis_index};
use crate::{Error, Fact, Result};
use tilewright_tensor::{DType, HostTensor, Shape};

/// The elements of a tensor, grouped by their indices along the axes that are kept.
pub(crate) struct Groups {
    /// Offset of the first element of each group; groups are in row-major order of the kept axes.
    pub(crate) starts: Vec<usize>,
    /// Offsets of a group's elements from its first one, in row-major order of the axes given.
    pub(crate) members: Vec<usize>,
}

impl Groups {
    /// Groups of elements that differ only along `axes`.
    pub(crate) fn new(shape: &Shape, axes: &[usize]) -> Groups {
        let strides = shape.strides();
        let walk = |inside: bool| {
            let picked = (0..shape.rank()).filter(|a| axes.contains(a) == inside);
            let (extents, steps): (Vec<_>, Vec<_>) = picked.map(|a| (shape[a], strides[a])).unzip();
            let walk = Shape::new(extents).offsets([&steps]);
            walk.map(|[at]| at).collect()
        };
        Groups {
            starts: walk(false),
            members: walk(true),
        }
    }

    /// The offsets of the elements of each group.
    pub(crate) fn iter(&self) -> impl Iterator<Item = impl Iterator<Item = usize> + Clone + '_> {
        let starts = self.starts.iter();
        starts.map(|start| self.members.iter().map(move |at| start + at))
    }
}

/// The axes as sorted indices. None may be named twice.
pub(crate) fn axis_indices(op: &str, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let found: Result<Vec<_>> = axes.iter().map(|&a| axis_index(op, a, rank)).collect();
    let mut found = found?;
    found.sort_unstable();
    if found.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::op(op, format!("axes {axes:?} name one axis twice")));
    }
    Ok(found)
}

/// An error unless `dtype` is one of floats.
pub(crate) fn need_float(op: &str, dtype: DType) -> Result<()> {
    if dtype.is_float() {
        return Ok(());
    }
    Err(Error::op(op, format!("expected floats, got {dtype}")))
}

/// The floats of input `i`, which must be given.
pub(crate) fn floats(inputs: Tensors<'_>, i: usize) -> Result<Vec<f64>> {
    let tensor = inputs.req(i)?;
    need_float(inputs.op(), tensor.dtype())?;
    Ok(tensor.to_f64())
}

/// The integers of a tensor, all types included.
pub(crate) fn integers(tensor: &HostTensor) -> Result<Vec<i128>> {
    if tensor.dtype() == DType::U64 {
        return Ok(tensor
            .as_slice::<u64>()?
            .iter()
            .map(|&v| v.into())
            .collect());
    }
    Ok(tensor.to_i64()?.into_iter().map(i128::from).collect())
}

/// A tensor of integers, which wrap as the type does.
pub(crate) fn from_integers(
    dtype: DType,
    shape: impl Into<Shape>,
    values: Vec<i128>,
) -> Result<HostTensor> {
    // The low 64 bits decide in every type.
    let low = values.into_iter().map(|v| v as i64).collect();
    Ok(HostTensor::from_i64(dtype, shape, low)?)
}

/// An error unless `fact` has the shape `[size]`, as far as sizes are known.
pub(crate) fn need_vector(op: &str, what: &str, fact: &Fact, size: &crate::Dim) -> Result<()> {
    let fits = match (&fact.shape[..], size.known()) {
        ([n], Some(size)) => n.known().is_none_or(|n| n == size),
        ([_], None) => true,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(Error::op(
        op,
        format!("{what} must have the shape [{size}], got {fact}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_walk_the_given_axes() {
        let groups = Groups::new(&Shape::from([2, 3, 2]), &[0, 2]);
        assert_eq!(groups.starts, [0, 2, 4]);
        assert_eq!(groups.members, [0, 1, 6, 7]);
        let all: Vec<Vec<usize>> = groups.iter().map(Iterator::collect).collect();
        assert_eq!(all[1], [2, 3, 8, 9]);
        let scalar = Groups::new(&Shape::scalar(), &[]);
        assert_eq!((scalar.starts, scalar.members), (vec![0], vec![0]));
        let empty = Groups::new(&Shape::from([2, 0]), &[1]);
        assert_eq!((empty.starts.len(), empty.members.len()), (2, 0));
    }

    #[test]
    fn axes_are_checked() {
        assert_eq!(axis_indices("X", &[-1, 0], 3).unwrap(), [0, 2]);
        assert!(axis_indices("X", &[-1, 2], 3).is_err());
        assert!(axis_indices("X", &[3], 3).is_err());
    }

    #[test]
    fn integers_cover_u64() {
        let t = HostTensor::scalar(u64::MAX);
        assert_eq!(integers(&t).unwrap(), [u64::MAX.into()]);
        let wrapped = from_integers(DType::U64, [1], vec![(1i128 << 64) + 5]).unwrap();
        assert_eq!(wrapped.as_slice::<u64>().unwrap(), [5]);
    }
}
