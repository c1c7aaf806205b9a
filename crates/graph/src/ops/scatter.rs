//! What ScatterElements and ScatterND share: how an update meets the element that is there.

use crate::{Attrs, Error, Fact, Result};
use tilewright_tensor::{DType, HostTensor};

/// How updates are combined with the element they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// The update replaces it. Of several updates the last one stays here; ONNX leaves it open.
    None,
    /// Sum.
    Add,
    /// Product.
    Mul,
    /// The smaller; NaN wins.
    Min,
    /// The larger; NaN wins.
    Max,
}

impl Combine {
    const NAMES: [(Combine, &'static str); 5] = [
        (Combine::None, "none"),
        (Combine::Add, "add"),
        (Combine::Mul, "mul"),
        (Combine::Min, "min"),
        (Combine::Max, "max"),
    ];

    /// Its name in ONNX.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(r, _)| *r == self);
        found.map_or("", |(_, name)| name)
    }

    /// The attribute `reduction`.
    pub(super) fn from_attrs(attrs: &Attrs) -> Result<Combine> {
        let name: String = attrs.or("reduction", "none".into())?;
        let found = Self::NAMES.iter().find(|(_, n)| *n == name);
        let error = || Error::op(attrs.op(), format!("reduction `{name}`"));
        found.map(|(r, _)| *r).ok_or_else(error)
    }

    /// What is known of the result.
    pub(super) fn fact(self, data: &Fact, updates: &Fact) -> Fact {
        let fact = Fact::new(data.dtype, data.shape.clone());
        let mixes = matches!(self, Combine::Add | Combine::Mul);
        match data.range().zip(updates.range()) {
            Some(((a, b), (c, d))) if !mixes => fact.with_range(a.min(c), b.max(d)),
            _ => fact,
        }
    }

    fn floats(self, a: f64, b: f64) -> f64 {
        match self {
            Combine::None => b,
            Combine::Add => a + b,
            Combine::Mul => a * b,
            _ if a.is_nan() || b.is_nan() => f64::NAN,
            Combine::Min => a.min(b),
            Combine::Max => a.max(b),
        }
    }

    /// On integers as 64 bits; they are wrapped to their type afterwards, which sums and products allow.
    fn ints(self, a: i64, b: i64, unsigned: bool) -> i64 {
        let less = if unsigned {
            (a as u64) < (b as u64)
        } else {
            a < b
        };
        match self {
            Combine::None => b,
            Combine::Add => a.wrapping_add(b),
            Combine::Mul => a.wrapping_mul(b),
            Combine::Min => {
                if less {
                    a
                } else {
                    b
                }
            }
            Combine::Max => {
                if less {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// `data` with the i-th of `updates` combined into element `offsets[i]`, in order.
pub(super) fn scattered(
    data: &HostTensor,
    updates: &HostTensor,
    offsets: &[usize],
    reduction: Combine,
) -> Result<HostTensor> {
    let mut out = data.clone();
    if reduction == Combine::None {
        out.place(updates, offsets.iter().copied())?;
        return Ok(out);
    }
    // Checks lengths, types and offsets; the elements are read in the same order below.
    out.place(updates, offsets.iter().copied())?;
    let (dtype, shape) = (data.dtype(), data.shape());
    if dtype.is_float() {
        let mut values = data.to_f64();
        for (&at, update) in offsets.iter().zip(updates.to_f64()) {
            values[at] = reduction.floats(values[at], update);
        }
        return Ok(HostTensor::from_f64(dtype, shape, values)?);
    }
    let wide = |t: &HostTensor| t.cast(DType::I64)?.to_i64();
    let mut values = wide(data)?;
    for (&at, update) in offsets.iter().zip(wide(updates)?) {
        values[at] = reduction.ints(values[at], update, dtype == DType::U64);
    }
    Ok(HostTensor::from_i64(dtype, shape, values)?)
}
