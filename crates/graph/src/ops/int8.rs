//! What the operators on 8-bit integers share on the device: packing, zero points, and the constant right operand.

use crate::fact::Facts;
use crate::lower::{Lower, Place, Placing};
use crate::{Dim, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use tilewright_device::Dispatch;
use tilewright_kernels::{self as kernels, Int8B, Store, View, Zero};
use tilewright_tensor::{DType, HostTensor, Shape};

/// The host, unless these inputs are constants (or left out).
pub(super) fn need_constants(cx: &Placing<'_>, inputs: &[usize]) -> Option<Place> {
    let open = |&&i: &&usize| {
        let fact = cx.inputs.opt(i);
        fact.is_some_and(|f| f.weight().is_none())
    };
    let found = inputs.iter().find(open)?;
    Some(Place::host(format!("input {found} is not constant")))
}

/// Scales and zero points, where they are given: the inputs `single` must have one element, `each` one or one a channel.
pub(super) fn parameters(
    inputs: Facts<'_>,
    single: &[usize],
    each: &[usize],
    channels: &Dim,
) -> Result<()> {
    for &i in single.iter().chain(each) {
        let Some(count) = inputs.opt(i).and_then(|f| f.elements().known()) else {
            continue;
        };
        let fits = each.contains(&i) && channels.known().is_none_or(|n| n == count);
        if count != 1 && !fits {
            return Err(inputs.error(format!("input {i} has {count} elements")));
        }
    }
    Ok(())
}

/// Number of elements of an input, if it is there and known.
pub(super) fn elements(cx: &Placing<'_>, i: usize) -> Option<i64> {
    cx.inputs.opt(i)?.elements().known()
}

/// True if both operands are known not to be empty: a product without terms is the host's.
pub(super) fn has_terms(cx: &Placing<'_>, operands: [usize; 2]) -> bool {
    operands.iter().all(|&i| elements(cx, i) != Some(0))
}

pub(super) fn store8(dtype: Option<DType>) -> Store {
    Store::Packed8 {
        signed: dtype == Some(DType::I8),
    }
}

/// Input `i` under `shape`, packed four to a word along the last axis.
pub(super) fn packed(cx: &mut Lower<'_>, i: usize, shape: Vec<usize>) -> Result<View> {
    let mut x = cx.input(i)?;
    x.shape = shape;
    let y = cx.scratch(store8(cx.input_dtype(i)), x.shape.clone());
    cx.emit(kernels::pack8(cx.caps(), &x, &y)?);
    Ok(y)
}

/// The integers of a constant; `default` where the input is left out.
pub(super) fn integers(cx: &Lower<'_>, i: usize, default: i32) -> Result<Vec<i32>> {
    match cx.constant(i)? {
        Some(t) => Ok(t.to_i64()?.into_iter().map(|v| v as i32).collect()),
        None => Ok(vec![default]),
    }
}

/// The floats of a constant.
pub(super) fn floats(cx: &Lower<'_>, i: usize) -> Result<Vec<f32>> {
    let values = cx.constant(i)?.map(|t| t.to_f64()).unwrap_or_default();
    Ok(values.into_iter().map(|v| v as f32).collect())
}

/// A zero point on the device, as i32: those of unsigned types are small.
pub(super) fn device_zero(cx: &Lower<'_>, i: usize) -> Result<View> {
    let view = cx.input(i)?;
    Ok(View {
        store: Store::I32,
        ..view
    })
}

/// The zero point of the left operand, and the view it may lie in.
pub(super) enum LeftZero {
    Known(i32),
    Device(View),
}

impl LeftZero {
    pub(super) fn new(cx: &Lower<'_>, i: usize) -> Result<LeftZero> {
        if cx.opt_input(i).is_some() && cx.weight(i).is_none_or(|w| w.len() != 1) {
            return Ok(LeftZero::Device(device_zero(cx, i)?));
        }
        Ok(LeftZero::Known(integers(cx, i, 0)?[0]))
    }

    pub(super) fn zero(&self) -> Zero<'_> {
        match self {
            LeftZero::Known(v) => Zero::Known(*v),
            LeftZero::Device(view) => Zero::Device(view),
        }
    }
}

/// A constant right operand in panels, and what is known of its columns.
pub(super) struct Columns {
    /// Panels of all columns, or of parts of them with the first one of each and the one behind it.
    words: Vec<(View, Option<[usize; 2]>)>,
    columns: View,
    symmetric: bool,
}

/// What the columns of a constant right operand are given: zero points and scales are one, or one each; no bias is empty.
pub(super) struct ColumnValues {
    pub(super) zeros: Vec<i32>,
    pub(super) bias: Vec<i32>,
    pub(super) scales: Vec<f32>,
}

impl ColumnValues {
    /// Tells values apart in a key that is made at every binding; they may be thousands.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.zeros, &self.bias).hash(&mut hasher);
        for scale in &self.scales {
            scale.to_bits().hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Columns {
    /// Of input `i`. `words` packs the panels of each of the `parts` (none: all columns), under `key`; `by_column` brings the
    /// columns to the front.
    pub(super) fn new(
        cx: &mut Lower<'_>,
        i: usize,
        key: String,
        values: &ColumnValues,
        parts: &[Option<[usize; 2]>],
        words: impl Fn(&HostTensor, Option<[usize; 2]>) -> Result<HostTensor>,
        by_column: impl FnOnce(&HostTensor) -> Result<HostTensor>,
    ) -> Result<Columns> {
        let ColumnValues {
            zeros,
            bias,
            scales,
        } = values;
        let columns = format!("columns {key} {:x}", values.digest());
        let columns = cx.derived(i, columns, |b| {
            Ok(kernels::columns8(&by_column(b)?, zeros, bias, scales)?)
        })?;
        let neutral = if cx.input_dtype(i) == Some(DType::U8) {
            128
        } else {
            0
        };
        let mut packed = vec![];
        for &part in parts {
            let key = match part {
                Some(columns) => format!("words {key} {columns:?}"),
                None => format!("words {key}"),
            };
            packed.push((cx.derived(i, key, |b| words(b, part))?, part));
        }
        Ok(Columns {
            words: packed,
            columns,
            symmetric: zeros.iter().all(|&z| z == neutral),
        })
    }

    /// The operand for all columns, or for each part of them.
    pub(super) fn operands(&self) -> Vec<Int8B<'_>> {
        let operand = |(words, part)| Int8B::Packed {
            words,
            columns: &self.columns,
            symmetric: self.symmetric,
            part,
        };
        let words = self.words.iter().map(|(words, part)| (words, *part));
        words.map(operand).collect()
    }
}

/// A matrix with its axes exchanged.
pub(super) fn transposed(b: &HostTensor) -> Result<HostTensor> {
    let shape = Shape::from([b.shape()[1], b.shape()[0]]);
    let columns = b.shape()[1] as isize;
    Ok(b.select(&shape, shape.offsets([&[1, columns]]).flatten())?)
}

/// Emits what `run` makes with scratch of `bytes`; an 8-bit result is widened into `y`.
pub(super) fn emit(
    cx: &mut Lower<'_>,
    bytes: usize,
    y: &View,
    narrow: Option<Store>,
    run: impl FnOnce(&mut Lower<'_>, &View, Option<&View>) -> Result<Vec<Dispatch>>,
) -> Result<()> {
    let scratch = (bytes > 0).then(|| cx.scratch(Store::U32, [bytes.div_ceil(4)]));
    let Some(store) = narrow else {
        let dispatches = run(cx, y, scratch.as_ref())?;
        cx.emit(dispatches);
        return Ok(());
    };
    let packed = cx.scratch(store, y.shape.clone());
    let dispatches = run(cx, &packed, scratch.as_ref())?;
    cx.emit(dispatches);
    cx.emit(kernels::unpack8(cx.caps(), &packed, y)?);
    Ok(())
}
