//! Element types.

use std::{fmt, str::FromStr};

use crate::{Error, Result};

/// The type of a tensor's elements.
///
/// On the host every element takes a whole number of bytes: `Bool` is one byte, 0 or 1, and the sub-byte
/// integers are held unpacked, one byte an element, sign extended where signed.
/// Strings, complex numbers and 8-bit floats are not tensors here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 8-bit integer.
    U8,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 64-bit integer.
    U64,
    /// Truth value.
    Bool,
    /// Signed 4-bit integer, -8 to 7.
    I4,
    /// Unsigned 4-bit integer, 0 to 15.
    U4,
    /// Signed 2-bit integer, -2 to 1.
    I2,
    /// Unsigned 2-bit integer, 0 to 3.
    U2,
}

impl DType {
    /// Every type, in declaration order.
    pub const ALL: [DType; 17] = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::Bool,
        DType::I4,
        DType::U4,
        DType::I2,
        DType::U2,
    ];

    /// Bytes an element takes on the host: 1, 2, 4 or 8.
    pub const fn size_bytes(self) -> usize {
        match self {
            DType::F64 | DType::I64 | DType::U64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::I4 | DType::U4 | DType::I2 | DType::U2 => 1,
        }
    }

    /// Bits of information an element carries: 1 for `Bool`, 4 and 2 for the sub-byte integers.
    pub const fn bits(self) -> usize {
        match self {
            DType::Bool => 1,
            DType::I4 | DType::U4 => 4,
            DType::I2 | DType::U2 => 2,
            _ => self.size_bytes() * 8,
        }
    }

    /// Whether this is a floating point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }

    /// Whether this is an integer type; `Bool` is not.
    pub const fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, DType::Bool)
    }

    /// Whether values below zero exist.
    pub const fn is_signed(self) -> bool {
        self.is_float()
            || matches!(
                self,
                DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::I4 | DType::I2
            )
    }

    /// Smallest and largest value of an integer type (0 and 1 for `Bool`); `None` for floats.
    pub const fn int_range(self) -> Option<(i128, i128)> {
        if self.is_float() {
            return None;
        }
        let bits = self.bits();
        Some(if self.is_signed() {
            (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        } else {
            (0, (1 << bits) - 1)
        })
    }

    /// Smallest and largest finite value as f64; the 64-bit integer bounds are rounded to f64.
    pub fn range(self) -> (f64, f64) {
        match self {
            DType::F64 => (f64::MIN, f64::MAX),
            DType::F32 => (f32::MIN.into(), f32::MAX.into()),
            DType::F16 => (half::f16::MIN.into(), half::f16::MAX.into()),
            DType::BF16 => (half::bf16::MIN.into(), half::bf16::MAX.into()),
            _ => match self.int_range() {
                Some((low, high)) => (low as f64, high as f64),
                None => (0.0, 0.0),
            },
        }
    }

    /// The type whose layout elements have on the host: `U8` for `Bool`, `U4` and `U2`, `I8` for `I4` and `I2`,
    /// otherwise the type itself.
    pub const fn storage(self) -> DType {
        match self {
            DType::Bool | DType::U4 | DType::U2 => DType::U8,
            DType::I4 | DType::I2 => DType::I8,
            other => other,
        }
    }

    /// The short name: `f32`, `bf16`, `i64`, `u4`, `bool`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::U16 => "u16",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::Bool => "bool",
            DType::I4 => "i4",
            DType::U4 => "u4",
            DType::I2 => "i2",
            DType::U2 => "u2",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DType {
    type Err = Error;

    /// Reads the short names that `Display` writes.
    fn from_str(name: &str) -> Result<DType> {
        let found = DType::ALL.into_iter().find(|dtype| dtype.name() == name);
        found.ok_or_else(|| Error::UnknownDType { name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse::<DType>().unwrap(), dtype);
            assert_eq!(dtype.storage().size_bytes(), dtype.size_bytes());
        }
        assert!("F32".parse::<DType>().is_err());
    }

    #[test]
    fn integer_ranges() {
        assert_eq!(DType::I4.int_range(), Some((-8, 7)));
        assert_eq!(DType::U2.int_range(), Some((0, 3)));
        assert_eq!(DType::Bool.int_range(), Some((0, 1)));
        assert_eq!(
            DType::I64.int_range(),
            Some((i64::MIN.into(), i64::MAX.into()))
        );
        assert_eq!(DType::U64.int_range(), Some((0, u64::MAX.into())));
        assert_eq!(DType::F16.int_range(), None);
        assert_eq!(DType::F16.range(), (-65504.0, 65504.0));
    }
}
