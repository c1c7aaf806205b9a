//! What ScatterElements and ScatterND share: how an update meets the element that is there.

use crate::lower::{Lower, Place, Placing};
use crate::{Attrs, Error, Fact, Result};
use tilewright_kernels::{Combine, Store, View, scatter_scratch};
use tilewright_tensor::{DType, HostTensor};

const NAMES: [(Combine, &str); 5] = [
    (Combine::Replace, "none"),
    (Combine::Add, "add"),
    (Combine::Mul, "mul"),
    (Combine::Min, "min"),
    (Combine::Max, "max"),
];

/// The attribute `reduction` of a way to combine.
pub(super) fn reduction(combine: Combine) -> String {
    let found = NAMES.iter().find(|(c, _)| *c == combine);
    found.map_or("", |(_, name)| name).to_string()
}

/// The way to combine that the attribute `reduction` names.
pub(super) fn from_attrs(attrs: &Attrs) -> Result<Combine> {
    let name: String = attrs.or("reduction", "none".into())?;
    let found = NAMES.iter().find(|(_, n)| *n == name);
    let error = || Error::op(attrs.op(), format!("reduction `{name}`"));
    found.map(|(c, _)| *c).ok_or_else(error)
}

/// What is known of the result.
pub(super) fn result(combine: Combine, data: &Fact, updates: &Fact) -> Fact {
    let fact = Fact::new(data.dtype, data.shape.clone());
    let mixes = matches!(combine, Combine::Add | Combine::Mul);
    match data.range().zip(updates.range()) {
        Some(((a, b), (c, d))) if !mixes => fact.with_range(a.min(c), b.max(d)),
        _ => fact,
    }
}

fn floats(combine: Combine, a: f64, b: f64) -> f64 {
    match combine {
        Combine::Replace => b,
        Combine::Add => a + b,
        Combine::Mul => a * b,
        _ if a.is_nan() || b.is_nan() => f64::NAN,
        Combine::Min => a.min(b),
        Combine::Max => a.max(b),
    }
}

/// On integers as 64 bits; they are wrapped to their type afterwards, which sums and products allow.
fn ints(combine: Combine, a: i64, b: i64, unsigned: bool) -> i64 {
    let less = if unsigned {
        (a as u64) < (b as u64)
    } else {
        a < b
    };
    match combine {
        Combine::Replace => b,
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

/// Where a scatter runs: sums and products of integers only where 32 bits wrap as the type does.
pub(super) fn placed(combine: Combine, cx: &Placing<'_>) -> Place {
    let dtype = cx.inputs.opt(0).map(|f| f.dtype);
    let exact = matches!(
        dtype,
        Some(DType::F32 | DType::F16 | DType::I32 | DType::U32)
    );
    if matches!(combine, Combine::Add | Combine::Mul) && !exact {
        return Place::host("sums of this type do not wrap at 32 bits");
    }
    super::moving::place(cx, &[0, 1, 2])
}

/// Scratch for a scatter with reduction to `places` slices.
pub(super) fn scratch(
    cx: &mut Lower<'_>,
    combine: Combine,
    places: usize,
    updates: usize,
) -> Option<View> {
    let words = scatter_scratch(places, updates);
    (combine != Combine::Replace).then(|| cx.scratch(Store::U32, [words]))
}

/// `data` with the i-th of `updates` combined into element `offsets[i]`, in order.
pub(super) fn scattered(
    data: &HostTensor,
    updates: &HostTensor,
    offsets: &[usize],
    combine: Combine,
) -> Result<HostTensor> {
    let mut out = data.clone();
    if combine == Combine::Replace {
        out.place(updates, offsets.iter().copied())?;
        return Ok(out);
    }
    // Checks lengths, types and offsets; the elements are read in the same order below.
    out.place(updates, offsets.iter().copied())?;
    let (dtype, shape) = (data.dtype(), data.shape());
    if dtype.is_float() {
        let mut values = data.to_f64();
        for (&at, update) in offsets.iter().zip(updates.to_f64()) {
            values[at] = floats(combine, values[at], update);
        }
        return Ok(HostTensor::from_f64(dtype, shape, values)?);
    }
    let wide = |t: &HostTensor| t.cast(DType::I64)?.to_i64();
    let mut values = wide(data)?;
    for (&at, update) in offsets.iter().zip(wide(updates)?) {
        values[at] = ints(combine, values[at], update, dtype == DType::U64);
    }
    Ok(HostTensor::from_i64(dtype, shape, values)?)
}
