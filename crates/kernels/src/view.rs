//! Device tensors as kernels see them: a place, a storage and a shape.

use std::fmt;

use serde::{Deserialize, Serialize};
use tilewright_device::{Slot, Span};

/// How the elements of a tensor lie in device memory.
///
/// Bool is `U32` (0 or 1), int64 is `I32` after a checked narrowing, narrow integers are widened
/// except in kernels that say `Packed8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// `f32`
    F32,
    /// `i32`
    I32,
    /// `u32`
    U32,
    /// `f16`: two bytes each. Shaders of adapters without `f16` read two of them as one `u32`.
    F16,
    /// 8-bit integers, four a `u32`, the first in the lowest byte; the last axis is padded with
    /// zeros to a multiple of four.
    Packed8 {
        /// int8, else uint8.
        signed: bool,
    },
}

/// A contiguous row-major device tensor of at most 8 dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Where it lies.
    pub span: Span,
    /// How its elements lie.
    pub store: Store,
    /// Its extents in elements, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
}

impl Store {
    /// Bytes of a tensor of this shape; the largest number where they are more.
    #[must_use]
    pub fn bytes(self, shape: &[usize]) -> u64 {
        let count = |shape: &[usize], each: u64| {
            let sizes = shape.iter().map(|&n| n as u64);
            sizes.fold(each, u64::saturating_mul)
        };
        match (self, shape) {
            (Self::F32 | Self::I32 | Self::U32, _) => count(shape, 4),
            (Self::F16, _) => count(shape, 2),
            (Self::Packed8 { .. }, []) => 4,
            (Self::Packed8 { .. }, [rows @ .., last]) => {
                count(rows, 4 * (*last as u64).div_ceil(4))
            }
        }
    }

    /// Whether the elements are floating-point numbers.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16)
    }
}

impl View {
    /// The tensor of this shape at the start of a slot.
    #[must_use]
    pub fn new(slot: Slot, store: Store, shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        Self {
            span: Span::whole(slot, store.bytes(&shape)),
            store,
            shape,
        }
    }

    /// Number of elements, without padding.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Itself, without axes if it has one element: it then broadcasts to any shape.
    #[must_use]
    pub fn scalar_if_one(mut self) -> Self {
        if self.elements() == 1 {
            self.shape.clear();
        }
        self
    }

    /// The extent of the last axis; 1 for a scalar.
    #[must_use]
    pub fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::F16 => "f16",
            Self::Packed8 { signed: true } => "i8x4",
            Self::Packed8 { signed: false } => "u8x4",
        })
    }
}

/// `f32[2, 3] %0[0+24]`
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?} {}", self.store, self.shape, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_follow_the_storage() {
        assert_eq!(Store::F32.bytes(&[]), 4);
        assert_eq!(Store::F32.bytes(&[3, 5]), 60);
        assert_eq!(Store::F16.bytes(&[3, 5]), 30);
        assert_eq!(Store::Packed8 { signed: true }.bytes(&[3, 5]), 24);
        assert_eq!(Store::Packed8 { signed: false }.bytes(&[]), 4);
        assert_eq!(Store::U32.bytes(&[0, 5]), 0);
        assert_eq!(Store::F32.bytes(&[usize::MAX, 5]), u64::MAX);
    }

    #[test]
    fn a_view_prints_storage_shape_and_place() {
        let view = View::new(Slot(7), Store::F32, [2, 3]);
        assert_eq!(view.to_string(), "f32[2, 3] %7[0+24]");
        assert_eq!(view.elements(), 6);
        assert_eq!(view.last(), 3);
    }
}
