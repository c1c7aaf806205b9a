//! Shapes: extents, strides, broadcasting.

use std::{fmt, ops::Deref};

use crate::{Error, Indices, Offsets, Result};

/// The extents of a tensor, outermost axis first. Rank 0 is a scalar; an extent of 0 makes an empty tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// A shape from its extents.
    pub fn new(extents: impl Into<Vec<usize>>) -> Shape {
        Shape(extents.into())
    }

    /// The shape of a scalar, rank 0.
    pub fn scalar() -> Shape {
        Shape(Vec::new())
    }

    /// Reads extents as they come from files and shape tensors.
    ///
    /// # Errors
    /// [`Error::Extents`] for an extent below zero or outside the address space.
    pub fn from_i64(extents: &[i64]) -> Result<Shape> {
        let read = extents.iter().map(|&e| usize::try_from(e).ok());
        let shape: Option<Vec<usize>> = read.collect();
        let error = || Error::Extents {
            extents: extents.to_vec(),
        };
        shape.map(Shape).ok_or_else(error)
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The number of elements, 1 for a scalar.
    ///
    /// # Errors
    /// [`Error::TooManyElements`] where the product of the extents that are not zero passes `isize::MAX`, the most bytes
    /// an allocation can have: then the product of any of them can be taken without care, also of an empty tensor.
    pub fn elements(&self) -> Result<usize> {
        let product = self
            .0
            .iter()
            .try_fold(1usize, |n, &e| n.checked_mul(e.max(1)));
        let product = product.filter(|&n| isize::try_from(n).is_ok());
        match product {
            Some(_) if self.0.contains(&0) => Ok(0),
            Some(n) => Ok(n),
            None => Err(Error::TooManyElements {
                shape: self.clone(),
            }),
        }
    }

    /// Row-major strides in elements. They are signed so that views that walk backwards can be written too.
    pub fn strides(&self) -> Vec<isize> {
        let mut strides = vec![1isize; self.rank()];
        for axis in (1..self.rank()).rev() {
            // An overflow needs a shape without a valid element count, whose strides mean nothing.
            strides[axis - 1] = strides[axis].wrapping_mul(self.0[axis].max(1) as isize);
        }
        strides
    }

    /// Strides that read a tensor of this shape as one of shape `out`: 0 along broadcast axes. Has `out`'s rank.
    ///
    /// # Errors
    /// [`Error::Broadcast`] where this shape does not broadcast to `out`.
    pub fn broadcast_strides(&self, out: &Shape) -> Result<Vec<isize>> {
        if Shape::broadcast(&[self, out])? != *out {
            return Err(Error::Shape {
                what: "broadcast",
                expected: out.clone(),
                got: self.clone(),
            });
        }
        let lead = out.rank() - self.rank();
        let own = self.0.iter().zip(self.strides());
        let own = own.map(|(&extent, stride)| if extent == 1 { 0 } else { stride });
        Ok(std::iter::repeat_n(0, lead).chain(own).collect())
    }

    /// The shape that all of `shapes` broadcast to by NumPy's rule: aligned at the last axis, extents equal or 1.
    ///
    /// # Errors
    /// [`Error::Broadcast`] naming the axis.
    pub fn broadcast(shapes: &[&Shape]) -> Result<Shape> {
        let rank = shapes.iter().map(|s| s.rank()).max().unwrap_or(0);
        let mut out = vec![1usize; rank];
        for shape in shapes {
            let lead = rank - shape.rank();
            for (axis, &extent) in shape.iter().enumerate() {
                let so_far = &mut out[lead + axis];
                if *so_far == 1 {
                    *so_far = extent;
                } else if extent != 1 && extent != *so_far {
                    let names: Vec<String> = shapes.iter().map(|s| s.to_string()).collect();
                    return Err(Error::Broadcast {
                        shapes: names.join(", "),
                        axis: shape.rank() - axis,
                        a: *so_far,
                        b: extent,
                    });
                }
            }
        }
        Ok(Shape(out))
    }

    /// Turns an axis in `-rank..rank`, negative ones counted from the end, into `0..rank`.
    ///
    /// # Errors
    /// [`Error::Axis`] outside that range.
    pub fn normalise_axis(axis: i64, rank: usize) -> Result<usize> {
        let from_start = if axis < 0 {
            axis.checked_add_unsigned(rank as u64)
        } else {
            Some(axis)
        };
        from_start
            .and_then(|a| usize::try_from(a).ok())
            .filter(|&a| a < rank)
            .ok_or(Error::Axis { axis, rank })
    }

    /// The row-major linear offset of a multi-index; the caller keeps `index` within the extents.
    pub fn offset(&self, index: &[usize]) -> usize {
        let pairs = self.0.iter().zip(index);
        pairs.fold(0, |offset, (&extent, &i)| offset * extent + i)
    }

    /// All multi-indices in row-major order.
    pub fn indices(&self) -> Indices<'_> {
        Indices::new(&self.0)
    }

    /// Linear offsets of `N` operands, each under its own strides, as the multi-index runs in row-major order.
    ///
    /// ```
    /// use tilewright_tensor::Shape;
    /// let out = Shape::from([2, 3]);
    /// let column = Shape::from([2, 1]).broadcast_strides(&out)?;
    /// let pairs: Vec<_> = out.offsets([&out.strides(), &column]).collect();
    /// assert_eq!(pairs, [[0, 0], [1, 0], [2, 0], [3, 1], [4, 1], [5, 1]]);
    /// # Ok::<(), tilewright_tensor::Error>(())
    /// ```
    pub fn offsets<const N: usize>(&self, strides: [&[isize]; N]) -> Offsets<N> {
        Offsets::new(&self.0, strides)
    }

    /// The extents as a vector.
    pub fn into_vec(self) -> Vec<usize> {
        self.0
    }

    /// The extents as i64, as shape tensors hold them.
    pub fn to_i64(&self) -> Vec<i64> {
        self.0.iter().map(|&e| e as i64).collect()
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Shape {
    fn from(extents: Vec<usize>) -> Shape {
        Shape(extents)
    }
}

impl From<&[usize]> for Shape {
    fn from(extents: &[usize]) -> Shape {
        Shape(extents.to_vec())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Shape {
        Shape(extents.to_vec())
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Shape {
        shape.clone()
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(extents: I) -> Shape {
        Shape(extents.into_iter().collect())
    }
}

/// `[2, 3]`, and `[]` for a scalar.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_counts_are_checked() {
        assert_eq!(Shape::scalar().elements(), Ok(1));
        assert_eq!(Shape::from([2, 3]).elements(), Ok(6));
        assert_eq!(Shape::from([1 << 20, 0, 9]).elements(), Ok(0));
        assert!(Shape::from([usize::MAX, 0, 9]).elements().is_err());
        let huge = Shape::from([1 << 20, 1 << 30, 1 << 20]);
        assert!(matches!(
            huge.elements(),
            Err(Error::TooManyElements { .. })
        ));
        assert!(Shape::from([usize::MAX]).elements().is_err());
        assert!(Shape::from_i64(&[2, -1]).is_err());
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let (a, b, c) = (
            Shape::from([8, 1, 6, 1]),
            Shape::from([7, 1, 5]),
            Shape::scalar(),
        );
        let out = Shape::broadcast(&[&a, &b, &c]).unwrap();
        assert_eq!(out, Shape::from([8, 7, 6, 5]));
        let empty = Shape::broadcast(&[&Shape::from([0]), &Shape::from([1])]).unwrap();
        assert_eq!(empty, Shape::from([0]));
        let error = Shape::broadcast(&[&Shape::from([2, 3]), &Shape::from([4, 3])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shapes [2, 3], [4, 3] do not broadcast: axis 2 from the end has extents 2 and 4"
        );
        assert!(
            Shape::from([2, 3])
                .broadcast_strides(&Shape::from([3]))
                .is_err()
        );
        assert_eq!(b.broadcast_strides(&out).unwrap(), [0, 5, 0, 1]);
    }

    #[test]
    fn axes_normalise() {
        assert_eq!(Shape::normalise_axis(-1, 3), Ok(2));
        assert_eq!(Shape::normalise_axis(2, 3), Ok(2));
        for axis in [3, -4, i64::MIN, i64::MAX] {
            assert_eq!(
                Shape::normalise_axis(axis, 3),
                Err(Error::Axis { axis, rank: 3 })
            );
        }
        assert!(Shape::normalise_axis(0, 0).is_err());
    }

    #[test]
    fn strides_are_row_major() {
        assert_eq!(Shape::from([2, 3, 4]).strides(), [12, 4, 1]);
        assert_eq!(Shape::from([2, 3, 4]).offset(&[1, 2, 3]), 23);
        assert!(Shape::scalar().strides().is_empty());
    }
}
