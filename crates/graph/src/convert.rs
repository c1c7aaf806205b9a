//! Between host tensors and the bytes that the device stores (see [`crate::lower::storage`]).

use crate::lower::storage;
use crate::{Error, Result};
use std::borrow::Cow;
use tilewright_device::Caps;
use tilewright_kernels::Store;
use tilewright_tensor::{DType, HostTensor};

/// The bytes of `tensor` as the device keeps them; `name` is for the error of a value that does not fit.
pub(crate) fn to_device<'a>(
    tensor: &'a HostTensor,
    name: &str,
    caps: &Caps,
) -> Result<Cow<'a, [u8]>> {
    let dtype = tensor.dtype();
    let store = storage(dtype, caps).ok_or(Error::Storage(dtype))?;
    Ok(match (dtype, store) {
        (DType::F32 | DType::I32 | DType::U32, _) | (_, Store::F16) => {
            Cow::Borrowed(tensor.bytes())
        }
        (DType::I64, _) => {
            let narrow = |&value: &i64| {
                i32::try_from(value).map_err(|_| Error::Narrowing {
                    name: name.into(),
                    value,
                })
            };
            let values = tensor
                .as_slice::<i64>()?
                .iter()
                .map(narrow)
                .collect::<Result<Vec<i32>>>()?;
            Cow::Owned(bytemuck::cast_slice(&values).to_vec())
        }
        (_, Store::F32) => Cow::Owned(tensor.cast(DType::F32)?.bytes().to_vec()),
        (_, Store::I32) => Cow::Owned(tensor.cast(DType::I32)?.bytes().to_vec()),
        _ => Cow::Owned(tensor.cast(DType::U32)?.bytes().to_vec()),
    })
}

/// The tensor of type `dtype` that the device keeps as `bytes` (which may be followed by padding).
pub(crate) fn from_device(
    bytes: &[u8],
    dtype: DType,
    shape: &[usize],
    caps: &Caps,
) -> Result<HostTensor> {
    let store = storage(dtype, caps).ok_or(Error::Storage(dtype))?;
    let stored = match store {
        Store::F32 => DType::F32,
        Store::F16 => DType::F16,
        Store::I32 => DType::I32,
        _ => DType::U32,
    };
    let len = shape.iter().product::<usize>() * stored.size_bytes();
    let bytes = bytes
        .get(..len)
        .ok_or_else(|| Error::Graph(format!("{} bytes read for {shape:?}", bytes.len())))?;
    let tensor = HostTensor::from_bytes(stored, shape.to_vec(), bytes)?;
    if stored == dtype {
        Ok(tensor)
    } else {
        Ok(tensor.cast(dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::is_stored;
    use crate::samples;

    fn caps(f16: bool) -> Caps {
        let mut caps = Caps::webgpu_default();
        caps.f16 = f16;
        caps
    }

    #[test]
    fn every_stored_type_survives() {
        for dtype in DType::ALL {
            if !is_stored(dtype) {
                continue;
            }
            let low = if dtype.is_signed() || dtype.is_float() {
                -3
            } else {
                0
            };
            let high = if dtype == DType::Bool { 2 } else { 100 };
            let t = samples::integers(DType::I64, &[3, 5], 1, low, high)
                .cast(dtype)
                .unwrap();
            for caps in [caps(false), caps(true)] {
                let bytes = to_device(&t, "t", &caps).unwrap();
                let back = from_device(&bytes, dtype, t.shape(), &caps).unwrap();
                assert_eq!(back, t, "{dtype}");
            }
        }
    }

    #[test]
    fn f16_takes_two_bytes_where_the_adapter_has_it() {
        let t = HostTensor::zeros(DType::F16, [3]).unwrap();
        for (f16, bytes, copied) in [(true, 6, 8), (false, 12, 12)] {
            let caps = caps(f16);
            assert_eq!(to_device(&t, "t", &caps).unwrap().len(), bytes);
            let stored = crate::lower::stored_bytes(DType::F16, t.shape(), &caps);
            assert_eq!(stored, copied);
        }
    }

    #[test]
    fn a_wide_integer_is_refused_by_name() {
        let t = samples::ints(&[1, 1 << 40]);
        let error = to_device(&t, "ids", &caps(false)).unwrap_err();
        assert!(
            matches!(error, Error::Narrowing { ref name, value } if name == "ids" && value == 1 << 40)
        );
    }
}
