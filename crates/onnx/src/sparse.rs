//! `SparseTensorProto`: coordinates and values, read as dense tensors.

use tilewright_tensor::{DType, HostTensor, Shape};

use crate::{Error, ExternalData, Result, proto::SparseTensorProto, read_tensor};

/// A few bytes can declare any extents: a sparse tensor made dense may have this many elements in any case,
const MAX_DENSE: usize = 1 << 20;

/// and this many for each of its values.
const MAX_DENSE_EACH: usize = 1 << 12;

/// Reads a sparse tensor as a dense one. Its name is that of its values. Coordinates are linear, `[nnz]`, or multi-indices,
/// `[nnz, rank]`, and rise strictly.
///
/// # Errors
/// Those of [`read_tensor`]; [`Error::Data`] where the parts do not fit together or the dense tensor has more than 2^20
/// elements and 2^12 for each value.
pub fn read_sparse_tensor(
    proto: &SparseTensorProto,
    external: &dyn ExternalData,
) -> Result<HostTensor> {
    let (Some(values), Some(indices)) = (&proto.values, &proto.indices) else {
        return Err(Error::Data {
            name: proto.values.as_ref().map_or("", |v| v.name()).to_owned(),
            what: "a sparse tensor without values or without indices".to_owned(),
        });
    };
    let name = values.name();
    let fail = |what: String| Error::Data {
        name: name.to_owned(),
        what,
    };
    let in_tensor = |source| Error::Tensor {
        name: name.to_owned(),
        source,
    };
    let shape = Shape::from_i64(&proto.dims).map_err(in_tensor)?;
    let elements = shape.elements().map_err(in_tensor)?;
    let values = read_tensor(values, external)?;
    let most = MAX_DENSE.max(values.len().saturating_mul(MAX_DENSE_EACH));
    if elements > most {
        let what = format!(
            "{shape} with {} values has more than {most} elements",
            values.len()
        );
        return Err(fail(what));
    }
    let indices = read_tensor(indices, external)?;
    let offsets = offsets(&indices, values.len(), &shape).map_err(fail)?;
    let mut dense = HostTensor::zeros(values.dtype(), &shape).map_err(in_tensor)?;
    dense.place(&values, offsets).map_err(in_tensor)?;
    Ok(dense)
}

/// The places of `nnz` values in a dense tensor of `shape`, or what is wrong with them.
fn offsets(indices: &HostTensor, nnz: usize, shape: &Shape) -> Result<Vec<usize>, String> {
    if indices.dtype() != DType::I64 {
        return Err(format!("indices are {}, not i64", indices.dtype()));
    }
    let flat = indices.to_i64().map_err(|e| e.to_string())?;
    let elements = shape.elements().map_err(|e| e.to_string())?;
    let per_value = match indices.shape()[..] {
        [n] if n == nnz => 1,
        [n, rank] if n == nnz && rank == shape.rank() && rank > 0 => rank,
        _ => {
            let got = indices.shape();
            return Err(format!("{nnz} values do not fit indices of shape {got}"));
        }
    };
    let mut offsets: Vec<usize> = Vec::with_capacity(nnz);
    for entry in flat.chunks(per_value) {
        let extents = if indices.rank() == 1 {
            &[elements]
        } else {
            &shape[..]
        };
        let offset = linear(entry, extents);
        match offset.filter(|o| offsets.last().is_none_or(|last| last < o)) {
            Some(offset) => offsets.push(offset),
            None => {
                return Err(format!(
                    "index {entry:?} is outside {shape} or out of order"
                ));
            }
        }
    }
    Ok(offsets)
}

fn linear(index: &[i64], extents: &[usize]) -> Option<usize> {
    index
        .iter()
        .zip(extents)
        .try_fold(0, |offset, (&i, &extent)| {
            let i = usize::try_from(i).ok().filter(|&i| i < extent)?;
            Some(offset * extent + i)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NoExternalData, write_tensor};

    fn read(dims: &[i64], values: &[f32], shape: &[usize], indices: &[i64]) -> Result<HostTensor> {
        let values = HostTensor::from_slice([values.len()], values).unwrap();
        let indices = HostTensor::from_slice(shape, indices).unwrap();
        let proto = SparseTensorProto {
            values: Some(write_tensor("s", &values)),
            indices: Some(write_tensor("", &indices)),
            dims: dims.to_vec(),
        };
        read_sparse_tensor(&proto, &NoExternalData)
    }

    #[test]
    fn linear_and_multi_indices() {
        let expected = HostTensor::from_vec([2, 2], vec![0f32, 5.0, 6.0, 0.0]).unwrap();
        assert_eq!(read(&[2, 2], &[5.0, 6.0], &[2], &[1, 2]).unwrap(), expected);
        let multi = read(&[2, 2], &[5.0, 6.0], &[2, 2], &[0, 1, 1, 0]);
        assert_eq!(multi.unwrap(), expected);
    }

    #[test]
    fn hostile_parts_are_typed_errors() {
        let fails = |dims: &[i64], shape: &[usize], indices: &[i64]| {
            read(dims, &[5.0, 6.0], shape, indices)
                .unwrap_err()
                .to_string()
        };
        assert!(fails(&[2, 2], &[2], &[1, 4]).contains("outside [2, 2]"));
        assert!(fails(&[2, 2], &[2], &[-1, 1]).contains("outside"));
        assert!(fails(&[2, 2], &[2], &[1, 1]).contains("out of order"));
        assert!(fails(&[2, 2], &[2, 2], &[0, 2, 1, 0]).contains("outside"));
        assert!(fails(&[2, 2], &[1], &[0]).contains("do not fit"));
        assert!(fails(&[1 << 20, 1 << 20], &[2], &[0, 1]).contains("more than"));
        assert!(fails(&[-2], &[2], &[0, 1]).contains("invalid extents"));
        let empty = read_sparse_tensor(&SparseTensorProto::default(), &NoExternalData);
        assert!(empty.is_err());
    }
}
