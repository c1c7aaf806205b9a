//! Conversions between element types, by the rules of ONNX `Cast`.

use half::{bf16, f16};

use crate::{DType, Element, Error, HostTensor, Result, Shape};

impl HostTensor {
    /// Every element as f64; 64-bit integers are rounded.
    pub fn to_f64(&self) -> Vec<f64> {
        self.read(&Read {
            float: |v| v,
            int: |v| v as f64,
        })
    }

    /// Every element as i64.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for floats, [`Error::Range`] for a `U64` above `i64::MAX`.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        let ints = self.to_i128()?.into_iter().enumerate();
        let narrow = |(index, value): (usize, i128)| {
            i64::try_from(value).map_err(|_| Error::Range {
                index,
                value,
                dtype: DType::I64,
            })
        };
        ints.map(narrow).collect()
    }

    /// Every element of an integer or bool tensor; floats are [`Error::Unsupported`].
    fn to_i128(&self) -> Result<Vec<i128>> {
        if self.dtype().is_float() {
            return Err(Error::Unsupported {
                what: "reading integers",
                dtype: self.dtype(),
            });
        }
        Ok(self.read(&Read {
            float: |v| v as i128,
            int: |v| v,
        }))
    }

    /// A tensor of `dtype` from f64 values: rounded once for floats; truncated toward zero and wrapped for integers; `!= 0`
    /// for bool.
    ///
    /// # Errors
    /// As [`HostTensor::from_vec`].
    pub fn from_f64(dtype: DType, shape: impl Into<Shape>, values: Vec<f64>) -> Result<HostTensor> {
        let shape = shape.into();
        match dtype {
            DType::F64 => HostTensor::from_vec(shape, values),
            DType::F32 => convert::<f32, _>(dtype, shape, values, f32::cast_f64),
            DType::F16 => convert::<f16, _>(dtype, shape, values, f16::cast_f64),
            DType::BF16 => convert::<bf16, _>(dtype, shape, values, bf16::cast_f64),
            DType::Bool => convert::<bool, _>(dtype, shape, values, bool::cast_f64),
            DType::U64 => convert::<u64, _>(dtype, shape, values, u64::cast_f64),
            _ => {
                let whole = values.into_iter().map(i64::cast_f64).collect();
                HostTensor::from_i64(dtype, shape, whole)
            }
        }
    }

    /// A tensor of `dtype` from i64 values: wrapped as two's complement for integers, rounded once for floats, `!= 0` for
    /// bool.
    ///
    /// # Errors
    /// As [`HostTensor::from_vec`].
    pub fn from_i64(dtype: DType, shape: impl Into<Shape>, values: Vec<i64>) -> Result<HostTensor> {
        if dtype == DType::I64 {
            return HostTensor::from_vec(shape, values);
        }
        let values = values.into_iter().map(i128::from).collect();
        HostTensor::from_i128(dtype, shape.into(), values)
    }

    fn from_i128(dtype: DType, shape: Shape, values: Vec<i128>) -> Result<HostTensor> {
        match dtype {
            DType::F32 => convert(dtype, shape, values, f32::cast_i128),
            DType::F64 => convert(dtype, shape, values, f64::cast_i128),
            DType::F16 => convert(dtype, shape, values, f16::cast_i128),
            DType::BF16 => convert(dtype, shape, values, bf16::cast_i128),
            DType::I8 => convert(dtype, shape, values, i8::cast_i128),
            DType::I16 => convert(dtype, shape, values, i16::cast_i128),
            DType::I32 => convert(dtype, shape, values, i32::cast_i128),
            DType::I64 => convert(dtype, shape, values, i64::cast_i128),
            DType::U8 => convert(dtype, shape, values, u8::cast_i128),
            DType::U16 => convert(dtype, shape, values, u16::cast_i128),
            DType::U32 => convert(dtype, shape, values, u32::cast_i128),
            DType::U64 => convert(dtype, shape, values, u64::cast_i128),
            DType::Bool => convert(dtype, shape, values, bool::cast_i128),
            DType::I4 => convert(dtype, shape, values, |v| (v as i8) << 4 >> 4),
            DType::I2 => convert(dtype, shape, values, |v| (v as i8) << 6 >> 6),
            DType::U4 => convert(dtype, shape, values, |v| v as u8 & 15),
            DType::U2 => convert(dtype, shape, values, |v| v as u8 & 3),
        }
    }

    /// The same values as another type, as ONNX `Cast` does without saturation: floats round to nearest even, floats
    /// to integers truncate toward zero, integers wrap, anything not zero is true. NaN to an integer is 0 and a float past
    /// 64 bits saturates there; the specification leaves both open. Shares the data where the type stays.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn cast(&self, dtype: DType) -> Result<HostTensor> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        let shape = self.shape().clone();
        if self.dtype().is_float() {
            HostTensor::from_f64(dtype, shape, self.to_f64())
        } else {
            HostTensor::from_i128(dtype, shape, self.to_i128()?)
        }
    }

    fn read<R>(&self, read: &Read<R>) -> Vec<R> {
        match self.dtype() {
            DType::F32 => floats::<f32, R>(self, read),
            DType::F64 => floats::<f64, R>(self, read),
            DType::F16 => floats::<f16, R>(self, read),
            DType::BF16 => floats::<bf16, R>(self, read),
            DType::I8 | DType::I4 | DType::I2 => ints::<i8, R>(self, read),
            DType::I16 => ints::<i16, R>(self, read),
            DType::I32 => ints::<i32, R>(self, read),
            DType::I64 => ints::<i64, R>(self, read),
            DType::U8 | DType::Bool | DType::U4 | DType::U2 => ints::<u8, R>(self, read),
            DType::U16 => ints::<u16, R>(self, read),
            DType::U32 => ints::<u32, R>(self, read),
            DType::U64 => ints::<u64, R>(self, read),
        }
    }
}

/// What to make of an element, which is exact in one of the two forms.
struct Read<R> {
    float: fn(f64) -> R,
    int: fn(i128) -> R,
}

fn floats<T: Element, R>(tensor: &HostTensor, read: &Read<R>) -> Vec<R> {
    let values = tensor.as_slice::<T>().unwrap_or_default();
    values.iter().map(|v| (read.float)(v.to_f64())).collect()
}

fn ints<T: Element, R>(tensor: &HostTensor, read: &Read<R>) -> Vec<R> {
    let values = tensor.as_slice::<T>().unwrap_or_default();
    values.iter().map(|v| (read.int)(v.to_i128())).collect()
}

/// Elements of `dtype`'s storage type, or of its own.
fn convert<T: Element, V>(
    dtype: DType,
    shape: Shape,
    values: Vec<V>,
    to: impl Fn(V) -> T,
) -> Result<HostTensor> {
    let values: Vec<T> = values.into_iter().map(to).collect();
    if dtype == T::DTYPE {
        HostTensor::from_vec(shape, values)
    } else {
        HostTensor::from_storage(dtype, shape, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(dtype: DType, values: &[i64]) -> Vec<i64> {
        let t = HostTensor::from_i64(dtype, [values.len()], values.to_vec()).unwrap();
        assert_eq!(t.dtype(), dtype);
        t.to_i64().unwrap()
    }

    #[test]
    fn integers_wrap() {
        assert_eq!(ints(DType::I8, &[127, 128, -129]), [127, -128, 127]);
        assert_eq!(ints(DType::U8, &[-1, 256]), [255, 0]);
        assert_eq!(ints(DType::I4, &[7, 8, -9]), [7, -8, 7]);
        assert_eq!(ints(DType::U4, &[16, -1]), [0, 15]);
        assert_eq!(ints(DType::I2, &[1, 2, -3]), [1, -2, 1]);
        assert_eq!(ints(DType::U2, &[4, -1]), [0, 3]);
        assert_eq!(ints(DType::Bool, &[0, 2, -1]), [0, 1, 1]);
    }

    #[test]
    fn casts_follow_onnx() {
        let f = HostTensor::from_vec([4], vec![-1.9f32, 300.7, f32::NAN, 0.0]).unwrap();
        let to = |dtype| f.cast(dtype).unwrap();
        assert_eq!(to(DType::I32).to_i64().unwrap(), [-1, 300, 0, 0]);
        assert_eq!(to(DType::U8).to_i64().unwrap(), [255, 44, 0, 0]);
        assert_eq!(to(DType::Bool).to_i64().unwrap(), [1, 1, 1, 0]);
        assert_eq!(to(DType::I4).to_i64().unwrap(), [-1, -4, 0, 0]);
        assert_eq!(to(DType::F64).to_f64()[1], f64::from(300.7f32));
        let u = HostTensor::scalar(u64::MAX);
        assert_eq!(u.cast(DType::I64).unwrap().item::<i64>(), Ok(-1));
        assert_eq!(u.cast(DType::F32).unwrap().to_f64(), [2f64.powi(64)]);
        assert!(matches!(u.to_i64(), Err(Error::Range { .. })));
        assert!(matches!(f.to_i64(), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn conversions_round_once() {
        // i64 -> f64 -> f32 would round 2^60 + 2^36 + 1 to the tie and then down.
        let value = (1i64 << 60) + (1 << 36) + 1;
        let t = HostTensor::scalar(value).cast(DType::F32).unwrap();
        assert_eq!(t.item::<f32>(), Ok(value as f32));
        assert_eq!(t.to_f64(), [2f64.powi(60) + 2f64.powi(37)]);
        let above_tie = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        let t = HostTensor::scalar(above_tie).cast(DType::F16).unwrap();
        assert_eq!(t.to_f64(), [1.0 + 2f64.powi(-10)]);
    }

    #[test]
    fn every_pair_of_types_keeps_zero_and_one() {
        for from in DType::ALL {
            let t = HostTensor::from_f64(from, [2], vec![0.0, 1.0]).unwrap();
            for to in DType::ALL {
                let cast = t.cast(to).unwrap();
                assert_eq!(cast.dtype(), to);
                assert_eq!(cast.to_f64(), [0.0, 1.0], "{from} to {to}");
            }
        }
    }
}
