//! The Rust types that elements have on the host, and their conversions.

use bytemuck::{CheckedBitPattern, NoUninit};
use half::{bf16, f16};

use crate::DType;

/// A Rust type that a tensor's elements can have.
///
/// Conversions follow ONNX `Cast`: float to integer truncates toward zero and integers wrap as two's complement.
/// Where the specification leaves the result open (a float outside the target's range), the float saturates to 64 bits and
/// then wraps, and NaN becomes 0.
pub trait Element:
    NoUninit + CheckedBitPattern + Default + PartialEq + std::fmt::Debug + Send + Sync + 'static
{
    /// The element type of a tensor made of these.
    const DTYPE: DType;
    /// The value as f64; 64-bit integers are rounded.
    fn to_f64(self) -> f64;
    /// The nearest value (ties to even) for floats, truncated and wrapped for integers, `!= 0` for bool.
    fn cast_f64(value: f64) -> Self;
    /// The value as an integer; floats truncate and saturate to 128 bits.
    fn to_i128(self) -> i128;
    /// The value wrapped for integers, rounded once for floats, `!= 0` for bool.
    fn cast_i128(value: i128) -> Self;
}

// `$wide` is the 64-bit type that holds every value of `$t` above zero.
macro_rules! int_elements {
    ($($t:ty, $dtype:ident, $wide:ty;)*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn cast_f64(value: f64) -> Self {
                // Through 64 bits so that narrow integers wrap instead of saturating.
                if value >= 0.0 { value as $wide as $t } else { value as i64 as $t }
            }
            fn to_i128(self) -> i128 {
                self as i128
            }
            fn cast_i128(value: i128) -> Self {
                value as $t
            }
        }
    )*};
}

int_elements! {
    i8, I8, i64;
    i16, I16, i64;
    i32, I32, i64;
    i64, I64, i64;
    u8, U8, u64;
    u16, U16, u64;
    u32, U32, u64;
    u64, U64, u64;
}

impl Element for f64 {
    const DTYPE: DType = DType::F64;
    fn to_f64(self) -> f64 {
        self
    }
    fn cast_f64(value: f64) -> Self {
        value
    }
    fn to_i128(self) -> i128 {
        self as i128
    }
    fn cast_i128(value: i128) -> Self {
        value as f64
    }
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn cast_f64(value: f64) -> Self {
        value as f32
    }
    fn to_i128(self) -> i128 {
        self as i128
    }
    fn cast_i128(value: i128) -> Self {
        value as f32
    }
}

impl Element for f16 {
    const DTYPE: DType = DType::F16;
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn cast_f64(value: f64) -> Self {
        f16::from_f32(f32_round_to_odd(value))
    }
    fn to_i128(self) -> i128 {
        self.to_f32() as i128
    }
    fn cast_i128(value: i128) -> Self {
        // Exact in f32 up to 2^24, and everything past 65,520 is infinite anyway.
        f16::from_f32(value.clamp(-(1 << 24), 1 << 24) as f32)
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::BF16;
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn cast_f64(value: f64) -> Self {
        bf16::from_f32(f32_round_to_odd(value))
    }
    fn to_i128(self) -> i128 {
        self.to_f32() as i128
    }
    fn cast_i128(value: i128) -> Self {
        // Drop bits that lie far below bf16's 8 bits of precision but keep whether any was set, so that
        // the only rounding is the last one.
        let size = value.unsigned_abs();
        let drop = (128 - size.leading_zeros()).saturating_sub(52);
        let lost = size & ((1 << drop) - 1) != 0;
        let kept = ((size >> drop) | u128::from(lost)) << drop;
        bf16::cast_f64(if value < 0 {
            -(kept as f64)
        } else {
            kept as f64
        })
    }
}

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn cast_f64(value: f64) -> Self {
        value != 0.0
    }
    fn to_i128(self) -> i128 {
        self.into()
    }
    fn cast_i128(value: i128) -> Self {
        value != 0
    }
}

/// Rounds to f32 so that a further rounding to a type of at most 22 bits of precision gives what rounding `value`
/// directly would: an inexact result gets an odd last bit.
fn f32_round_to_odd(value: f64) -> f32 {
    let near = value as f32;
    let back = f64::from(near);
    if back == value || value.is_nan() || near.to_bits() & 1 == 1 {
        return near;
    }
    // The neighbour on the other side of `value` is odd, since `near` is even.
    let away = value.abs() > back.abs();
    f32::from_bits(if away {
        near.to_bits() + 1
    } else {
        near.to_bits() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_types_round_once() {
        // 1 + 2^-11 is a tie for f16; the smallest excess must round it up.
        let tie = 1.0 + 2f64.powi(-11);
        assert_eq!(f16::cast_f64(tie), f16::from_f32(1.0));
        let above = tie + 2f64.powi(-50);
        assert_eq!(f16::cast_f64(above).to_f64(), 1.0 + 2f64.powi(-10));
        assert_eq!(f16::cast_f64(-above).to_f64(), -1.0 - 2f64.powi(-10));
        let tie = 1.0 + 2f64.powi(-8);
        assert_eq!(
            bf16::cast_f64(tie + 2f64.powi(-50)).to_f64(),
            1.0 + 2f64.powi(-7)
        );
        assert_eq!(bf16::cast_f64(tie).to_f64(), 1.0);
        assert_eq!(f16::cast_f64(65519.999).to_f64(), 65504.0);
        assert!(f16::cast_f64(65520.0).is_infinite());
        assert!(f16::cast_f64(f64::MAX).is_infinite());
        assert!(f16::cast_f64(f64::NAN).is_nan());
        assert_eq!(f16::cast_f64(1e-300).to_bits(), 0);
        assert_eq!(f16::cast_f64(-0.0).to_bits(), 0x8000);
    }

    #[test]
    fn integers_to_half_types() {
        assert_eq!(f16::cast_i128(2049).to_f64(), 2048.0);
        assert_eq!(f16::cast_i128(2051).to_f64(), 2052.0);
        assert!(f16::cast_i128(65520).is_infinite());
        assert!(f16::cast_i128(i64::MIN.into()).to_f64() == f64::NEG_INFINITY);
        // A tie of bf16 at 2^62, and one more.
        let tie = (1i128 << 62) + (1 << 54);
        assert_eq!(bf16::cast_i128(tie).to_f64(), 2f64.powi(62));
        assert_eq!(
            bf16::cast_i128(tie + 1).to_f64(),
            2f64.powi(62) + 2f64.powi(55)
        );
        assert_eq!(bf16::cast_i128(-3).to_f64(), -3.0);
    }

    #[test]
    fn floats_to_integers() {
        assert_eq!(i32::cast_f64(-1.9), -1);
        assert_eq!(i8::cast_f64(200.5), -56);
        assert_eq!(u8::cast_f64(-1.0), 255);
        assert_eq!(i64::cast_f64(f64::NAN), 0);
        assert_eq!(u64::cast_f64(1.8e19), 18_000_000_000_000_000_000);
        assert_eq!(i64::cast_f64(-1e30), i64::MIN);
        assert_eq!(i64::cast_f64(1e30), i64::MAX);
        assert!(bool::cast_f64(0.1) && bool::cast_f64(f64::NAN) && !bool::cast_f64(-0.0));
    }
}
