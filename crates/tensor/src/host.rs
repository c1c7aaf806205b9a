//! Dense host tensors.

use std::sync::Arc;

use crate::{DType, Element, Error, Result, Shape, StorageRef};

/// A dense row-major tensor in host memory. Cloning shares the data; [`HostTensor::as_mut_slice`] copies it first
/// where it is shared.
///
/// Equality is bitwise: dtype, shape and bytes, so NaN equals the same NaN and 0.0 differs from -0.0. Element comparison with
/// tolerances is in [`crate::compare`].
#[derive(Clone)]
pub struct HostTensor {
    dtype: DType,
    shape: Shape,
    /// Words, so that every element type is aligned; the last one is zero padded.
    words: Arc<Vec<u64>>,
    /// Bytes in use.
    len: usize,
}

impl HostTensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// [`Error::TooManyElements`], [`Error::OutOfMemory`].
    pub fn zeros(dtype: DType, shape: impl Into<Shape>) -> Result<HostTensor> {
        let shape = shape.into();
        let elements = shape.elements()?;
        let len = elements.checked_mul(dtype.size_bytes());
        let len = len.filter(|&len| isize::try_from(len).is_ok());
        let Some(len) = len else {
            return Err(Error::TooManyElements { shape });
        };
        let mut words: Vec<u64> = Vec::new();
        let count = len.div_ceil(8);
        let reserved = words.try_reserve_exact(count);
        reserved.map_err(|_| Error::OutOfMemory { bytes: len })?;
        words.resize(count, 0);
        Ok(HostTensor {
            dtype,
            shape,
            words: Arc::new(words),
            len,
        })
    }

    /// A tensor of `T::DTYPE` from its elements in row-major order.
    ///
    /// # Errors
    /// [`Error::Length`] where the count does not match, and those of [`HostTensor::zeros`].
    pub fn from_vec<T: Element>(shape: impl Into<Shape>, values: Vec<T>) -> Result<HostTensor> {
        HostTensor::from_slice(shape, &values)
    }

    /// A tensor of `T::DTYPE` copied from a slice in row-major order; errors as [`HostTensor::from_vec`].
    pub fn from_slice<T: Element>(shape: impl Into<Shape>, values: &[T]) -> Result<HostTensor> {
        let shape = shape.into();
        check_length(&shape, "elements", shape.elements()?, values.len())?;
        HostTensor::copied(T::DTYPE, shape, bytemuck::cast_slice(values))
    }

    /// A tensor of `dtype` from elements of its storage type: `i8` for `I4` and `I2`, `u8` for `U4`, `U2` and `Bool`.
    ///
    /// # Errors
    /// [`Error::DType`] where `T` is not the storage type, [`Error::Range`] for a value that `dtype` does not have,
    /// and those of [`HostTensor::from_vec`].
    pub fn from_storage<T: Element>(
        dtype: DType,
        shape: impl Into<Shape>,
        values: Vec<T>,
    ) -> Result<HostTensor> {
        if dtype.storage() != T::DTYPE {
            return Err(Error::DType {
                expected: dtype.storage(),
                got: T::DTYPE,
            });
        }
        HostTensor::from_bytes(dtype, shape, bytemuck::cast_slice(&values))
    }

    /// A rank-0 tensor.
    pub fn scalar<T: Element>(value: T) -> HostTensor {
        let mut words = vec![0u64];
        let bytes = bytemuck::bytes_of(&value);
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        HostTensor {
            dtype: T::DTYPE,
            shape: Shape::scalar(),
            words: Arc::new(words),
            len: bytes.len(),
        }
    }

    /// Identifies the shared storage for as long as the answer is kept.
    pub fn storage_ref(&self) -> StorageRef {
        StorageRef::new(&self.words)
    }

    /// A tensor of `words` that another one has; none where their count does not fit.
    pub(crate) fn over(dtype: DType, shape: &Shape, words: Arc<Vec<u64>>) -> Option<HostTensor> {
        let len = shape.elements().ok()?.checked_mul(dtype.size_bytes())?;
        (len.div_ceil(8) == words.len()).then(|| HostTensor {
            dtype,
            shape: shape.clone(),
            words,
            len,
        })
    }

    /// A tensor from its little-endian bytes, one whole element after another (sub-byte types unpacked).
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Range`] for a bool that is not 0 or 1 and for sub-byte integers out of range,
    /// and those of [`HostTensor::zeros`].
    pub fn from_bytes(dtype: DType, shape: impl Into<Shape>, bytes: &[u8]) -> Result<HostTensor> {
        let shape = shape.into();
        let expected = shape.elements()?.saturating_mul(dtype.size_bytes());
        check_length(&shape, "bytes", expected, bytes.len())?;
        if dtype.storage() != dtype {
            check_narrow(dtype, bytes)?;
        }
        HostTensor::copied(dtype, shape, bytes)
    }

    /// `bytes` has the right length and valid values.
    fn copied(dtype: DType, shape: Shape, bytes: &[u8]) -> Result<HostTensor> {
        let mut out = HostTensor::zeros(dtype, shape)?;
        out.bytes_mut().copy_from_slice(bytes);
        Ok(out)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len / self.dtype.size_bytes()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements' bytes in row-major order, in the machine's byte order (little endian on every target).
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        let words: &mut Vec<u64> = Arc::make_mut(&mut self.words);
        &mut bytemuck::cast_slice_mut(words)[..len]
    }

    /// The elements in row-major order. `T` is the dtype's own type or its storage type (`u8` for `Bool`, `i8` for `I4`).
    ///
    /// # Errors
    /// [`Error::DType`] for any other `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        self.check::<T>()?;
        let error = |_| self.mismatch::<T>();
        bytemuck::checked::try_cast_slice(self.bytes()).map_err(error)
    }

    /// The elements for writing; copies the data first where it is shared. `T` is the dtype's own type: narrow types
    /// are written by [`HostTensor::from_storage`], which checks ranges.
    ///
    /// # Errors
    /// [`Error::DType`] for any other `T`.
    pub fn as_mut_slice<T: Element + bytemuck::AnyBitPattern>(&mut self) -> Result<&mut [T]> {
        if self.dtype != T::DTYPE {
            return Err(self.mismatch::<T>());
        }
        let error = self.mismatch::<T>();
        bytemuck::try_cast_slice_mut(self.bytes_mut()).map_err(|_| error)
    }

    /// A copy of the elements; `T` as in [`HostTensor::as_slice`].
    ///
    /// # Errors
    /// [`Error::DType`].
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.as_slice().map(<[T]>::to_vec)
    }

    /// The only element of a tensor with one element, of any rank; `T` as in [`HostTensor::as_slice`].
    ///
    /// # Errors
    /// [`Error::DType`]; [`Error::Shape`] for another element count.
    pub fn item<T: Element>(&self) -> Result<T> {
        match self.as_slice::<T>()? {
            [value] => Ok(*value),
            _ => Err(Error::Shape {
                what: "single element",
                expected: Shape::scalar(),
                got: self.shape.clone(),
            }),
        }
    }

    fn check<T: Element>(&self) -> Result<()> {
        if self.dtype == T::DTYPE || self.dtype.storage() == T::DTYPE {
            return Ok(());
        }
        Err(self.mismatch::<T>())
    }

    fn mismatch<T: Element>(&self) -> Error {
        Error::DType {
            expected: T::DTYPE,
            got: self.dtype,
        }
    }

    /// The same elements under another shape; shares the data.
    ///
    /// # Errors
    /// [`Error::Length`] where the element counts differ.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<HostTensor> {
        let shape = shape.into();
        check_length(&shape, "elements", shape.elements()?, self.len())?;
        Ok(HostTensor {
            shape,
            ..self.clone()
        })
    }

    /// A tensor of `shape` whose i-th element is the `offsets[i]`-th of this one, whatever the dtype: transposes,
    /// slices, gathers, tiles and expansions in one.
    ///
    /// # Errors
    /// [`Error::Offset`] for an offset past the end, [`Error::Length`] where `offsets` is too short or too long.
    pub fn select(
        &self,
        shape: impl Into<Shape>,
        offsets: impl IntoIterator<Item = usize>,
    ) -> Result<HostTensor> {
        let mut out = HostTensor::zeros(self.dtype, shape)?;
        let elements = out.len();
        let mut count = 0;
        let mut offsets = offsets.into_iter();
        match self.dtype.size_bytes() {
            1 => count += gather::<u8>(self, &mut out, &mut offsets)?,
            2 => count += gather::<u16>(self, &mut out, &mut offsets)?,
            4 => count += gather::<u32>(self, &mut out, &mut offsets)?,
            _ => count += gather::<u64>(self, &mut out, &mut offsets)?,
        }
        count += offsets.count();
        check_length(&out.shape, "elements", elements, count)?;
        Ok(out)
    }

    /// Copies the i-th element of `from` to element `offsets[i]` of this tensor; later ones win. The inverse of
    /// [`HostTensor::select`].
    ///
    /// # Errors
    /// [`Error::DType`] where the dtypes differ, [`Error::Offset`], [`Error::Length`] where `offsets` is too short or too long.
    pub fn place(
        &mut self,
        from: &HostTensor,
        offsets: impl IntoIterator<Item = usize>,
    ) -> Result<()> {
        if from.dtype != self.dtype {
            return Err(Error::DType {
                expected: self.dtype,
                got: from.dtype,
            });
        }
        let mut offsets = offsets.into_iter();
        let mut count = match self.dtype.size_bytes() {
            1 => scatter::<u8>(from, self, &mut offsets)?,
            2 => scatter::<u16>(from, self, &mut offsets)?,
            4 => scatter::<u32>(from, self, &mut offsets)?,
            _ => scatter::<u64>(from, self, &mut offsets)?,
        };
        count += offsets.count();
        check_length(&from.shape, "elements", from.len(), count)
    }
}

/// A `T` is any unsigned integer of the element's size. Returns how many elements were read.
fn gather<T: bytemuck::Pod>(
    from: &HostTensor,
    out: &mut HostTensor,
    offsets: &mut dyn Iterator<Item = usize>,
) -> Result<usize> {
    let source: &[T] = bytemuck::cast_slice(from.bytes());
    let target: &mut [T] = bytemuck::cast_slice_mut(out.bytes_mut());
    let mut count = 0;
    for (value, offset) in target.iter_mut().zip(offsets) {
        let found = source.get(offset);
        *value = *found.ok_or(Error::Offset {
            offset,
            elements: source.len(),
        })?;
        count += 1;
    }
    Ok(count)
}

/// A `T` is any unsigned integer of the element's size. Returns how many elements were written.
fn scatter<T: bytemuck::Pod>(
    from: &HostTensor,
    out: &mut HostTensor,
    offsets: &mut dyn Iterator<Item = usize>,
) -> Result<usize> {
    let source: &[T] = bytemuck::cast_slice(from.bytes());
    let target: &mut [T] = bytemuck::cast_slice_mut(out.bytes_mut());
    let elements = target.len();
    let mut count = 0;
    for (value, offset) in source.iter().zip(offsets) {
        let found = target.get_mut(offset);
        *found.ok_or(Error::Offset { offset, elements })? = *value;
        count += 1;
    }
    Ok(count)
}

fn check_length(shape: &Shape, unit: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Length {
        shape: shape.clone(),
        unit,
        expected,
        got,
    })
}

/// Checks one-byte elements against the range of a type narrower than a byte.
fn check_narrow(dtype: DType, bytes: &[u8]) -> Result<()> {
    let Some((low, high)) = dtype.int_range() else {
        return Ok(());
    };
    let signed = dtype.is_signed();
    let value = |byte: u8| {
        if signed {
            i128::from(byte as i8)
        } else {
            byte.into()
        }
    };
    match bytes
        .iter()
        .position(|&b| !(low..=high).contains(&value(b)))
    {
        None => Ok(()),
        Some(index) => Err(Error::Range {
            index,
            value: value(bytes[index]),
            dtype,
        }),
    }
}

impl PartialEq for HostTensor {
    fn eq(&self, other: &HostTensor) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

impl Eq for HostTensor {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        let error = HostTensor::from_vec([2, 3], vec![1f32; 5]).unwrap_err();
        assert_eq!(error.to_string(), "shape [2, 3] needs 6 elements, got 5");
        assert!(HostTensor::from_bytes(DType::I32, [1], &[0; 3]).is_err());
        assert!(matches!(
            HostTensor::zeros(DType::F64, [usize::MAX / 4]),
            Err(Error::TooManyElements { .. })
        ));
        assert!(matches!(
            HostTensor::zeros(DType::U8, [isize::MAX as usize - 8]),
            Err(Error::OutOfMemory { .. })
        ));
    }

    #[test]
    fn slices_check_the_type() {
        let t = HostTensor::from_vec([3], vec![1i16, -2, 3]).unwrap();
        assert_eq!(t.as_slice::<i16>().unwrap(), [1, -2, 3]);
        assert_eq!(
            t.as_slice::<u16>(),
            Err(Error::DType {
                expected: DType::U16,
                got: DType::I16
            })
        );
        let t = HostTensor::from_vec([2], vec![true, false]).unwrap();
        assert_eq!(t.as_slice::<bool>().unwrap(), [true, false]);
        assert_eq!(t.as_slice::<u8>().unwrap(), [1, 0]);
        let empty = HostTensor::from_vec([0, 4], Vec::<f64>::new()).unwrap();
        assert!(empty.as_slice::<f64>().unwrap().is_empty());
        assert_eq!(HostTensor::scalar(2.5f32).item::<f32>(), Ok(2.5));
    }

    #[test]
    fn narrow_types_check_their_range() {
        let t = HostTensor::from_storage(DType::I4, [2], vec![-8i8, 7]).unwrap();
        assert_eq!(t.as_slice::<i8>().unwrap(), [-8, 7]);
        let error = HostTensor::from_storage(DType::I4, [2], vec![0i8, 8]).unwrap_err();
        assert_eq!(error.to_string(), "element 1 is 8, outside the range of i4");
        assert!(HostTensor::from_bytes(DType::Bool, [1], &[2]).is_err());
        assert!(HostTensor::from_storage(DType::U4, [1], vec![1i8]).is_err());
    }

    #[test]
    fn writing_does_not_reach_clones() {
        let a = HostTensor::from_vec([2], vec![1f32, 2.0]).unwrap();
        let mut b = a.clone();
        b.as_mut_slice::<f32>().unwrap()[0] = 9.0;
        assert_eq!(a.as_slice::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(b.as_slice::<f32>().unwrap(), [9.0, 2.0]);
    }

    #[test]
    fn select_and_place() {
        let t = HostTensor::from_vec([2, 3], vec![0u16, 1, 2, 3, 4, 5]).unwrap();
        let out = Shape::from([3, 2]);
        let transposed = t.select(&out, out.offsets([&[1, 3]]).flatten()).unwrap();
        assert_eq!(transposed.as_slice::<u16>().unwrap(), [0, 3, 1, 4, 2, 5]);
        let mut back = HostTensor::zeros(DType::U16, [2, 3]).unwrap();
        back.place(&transposed, out.offsets([&[1, 3]]).flatten())
            .unwrap();
        assert_eq!(back, t);
        assert!(matches!(t.select([1], [6]), Err(Error::Offset { .. })));
        assert!(matches!(t.select([2], [0]), Err(Error::Length { .. })));
        assert!(matches!(t.select([1], [0, 1]), Err(Error::Length { .. })));
    }

    #[test]
    fn equality_is_bitwise() {
        let nan = HostTensor::scalar(f32::NAN);
        assert_eq!(nan, nan.clone());
        assert_ne!(HostTensor::scalar(0f32), HostTensor::scalar(-0f32));
        assert_ne!(HostTensor::scalar(0i32), HostTensor::scalar(0u32));
        let row = HostTensor::from_vec([1, 2], vec![1u8, 2]).unwrap();
        assert_ne!(row, row.reshape([2, 1]).unwrap());
    }
}
