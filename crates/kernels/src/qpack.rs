//! Constant operands of int8 products, laid out on the host: words of four along k, uint8 made int8.

use std::ops::Range;

use tilewright_device::Caps;
use tilewright_tensor::{DType, HostTensor};

use crate::pack::{Panels, host};
use crate::{ConvShape, Error, Result, panel_width};

const KERNEL: &str = "pack8";

/// Values of an 8-bit tensor as int8: 128 less for uint8.
pub(crate) fn as_int8(from: &HostTensor) -> Result<Vec<i8>> {
    match from.dtype() {
        DType::I8 => from.to_vec::<i8>().map_err(host),
        DType::U8 => {
            let values = from.as_slice::<u8>().map_err(host)?;
            Ok(values.iter().map(|v| (v ^ 0x80).cast_signed()).collect())
        }
        dtype => Err(Error::shape(KERNEL, format!("{dtype}, expected i8 or u8"))),
    }
}

/// Packs a constant 8-bit B of \[k, n\] (\[n, k\] with `trans`) for this adapter: u32 of
/// \[panels, words of k rounded up to 4, width\].
///
/// # Errors
/// [`Error::Shape`] for another rank or dtype.
pub fn pack_b8(caps: &Caps, b: &HostTensor, trans: bool) -> Result<HostTensor> {
    let n = b.shape().get(usize::from(!trans)).copied().unwrap_or(0);
    pack_b8_columns(caps, b, trans, 0..n)
}

/// [`pack_b8`] of some of the columns.
///
/// # Errors
/// As [`pack_b8`], and for columns that are not there.
pub fn pack_b8_columns(
    caps: &Caps,
    b: &HostTensor,
    trans: bool,
    columns: Range<usize>,
) -> Result<HostTensor> {
    let &[rows, cols] = &b.shape()[..] else {
        return Err(Error::shape(
            KERNEL,
            format!("B is {}, expected rank 2", b.shape()),
        ));
    };
    let (depth, n) = if trans { (cols, rows) } else { (rows, cols) };
    if columns.start > columns.end || columns.end > n {
        return Err(Error::shape(KERNEL, format!("columns {columns:?} of {n}")));
    }
    let values = as_int8(b)?;
    let panels = Panels {
        n: columns.len(),
        k: depth.div_ceil(4),
        blocks: 1,
        width: panel_width(caps),
    };
    let words = words(&values, &panels, 1, |_, _, word, byte, n| {
        let k = 4 * word + byte;
        let n = columns.start + n;
        (k < depth).then_some(if trans { n * cols + k } else { k * cols + n })
    });
    HostTensor::from_vec(panels.shape(), words).map_err(host)
}

/// Packs a constant 8-bit filter of \[out_channels, in_channels / groups, kernel..\] for this adapter and shape: u32 of
/// \[groups, panels, words, width\].
///
/// # Errors
/// [`Error::Shape`] for another shape or dtype, and for groups of a number of input channels that is not a multiple of 4.
pub fn pack_filter8(caps: &Caps, shape: &ConvShape, w: &HostTensor) -> Result<HostTensor> {
    let in_words = shape.in_words()?;
    let [blocks, k] = in_words.blocks();
    let (ic, oc, icw) = (shape.group_in(), shape.group_out(), in_words.group_in());
    let taps: usize = shape.kernel.iter().product();
    if w.len() != shape.out_channels * ic * taps || w.shape().first() != Some(&shape.out_channels) {
        return Err(Error::shape(
            KERNEL,
            format!("a filter of {} for {shape:?}", w.shape()),
        ));
    }
    let values = as_int8(w)?;
    let panels = Panels {
        n: oc,
        k,
        blocks,
        width: panel_width(caps),
    };
    let words = words(
        &values,
        &panels,
        shape.groups,
        |group, block, word, byte, n| {
            let (tap, c) = (block * (k / icw) + word / icw, word % icw * 4 + byte);
            (c < ic).then_some(((group * oc + n) * ic + c) * taps + tap)
        },
    );
    let [count, rows, width] = panels.shape();
    HostTensor::from_vec([shape.groups, count, rows, width], words).map_err(host)
}

/// Panels of words whose byte `b` is the value at `at(batch, block, word, b, n)`, zero where that is `None`.
fn words(
    values: &[i8],
    panels: &Panels,
    batches: usize,
    at: impl Fn(usize, usize, usize, usize, usize) -> Option<usize>,
) -> Vec<u32> {
    let mut words = Vec::with_capacity(batches * panels.shape().iter().product::<usize>());
    panels.each(batches, |place| {
        let byte = |b| match place {
            Some((z, block, k, n)) => {
                at(z, block, k, b, n).map_or(0, |at| values[at].cast_unsigned())
            }
            None => 0,
        };
        words.push(u32::from_le_bytes([0, 1, 2, 3].map(byte)));
    });
    words
}

/// What an int8 product needs to know of each column of a constant B: i32 of \[columns, 4\] (sum over k, zero point, bias, bits
/// of the scale), behind them one row of zeros that vec4 reads may touch.
///
/// `b` holds the columns as its first axis (the transposed matrix, or a filter), `zero_point` in its dtype, `bias` in units of the
/// product's scale, and `scale` each have one value, or one a column; an empty `bias` is zero.
///
/// # Errors
/// [`Error::Shape`] for other lengths or dtypes.
pub fn columns8(
    b: &HostTensor,
    zero_point: &[i32],
    bias: &[i32],
    scale: &[f32],
) -> Result<HostTensor> {
    let columns = b.shape().first().copied().unwrap_or(1);
    for (name, len) in [
        ("zero points", zero_point.len()),
        ("scales", scale.len()),
        ("biases", bias.len()),
    ] {
        let fits = len == columns || len == 1 || (name == "biases" && len == 0);
        if !fits {
            return Err(Error::shape(
                KERNEL,
                format!("{len} {name} for {columns} columns"),
            ));
        }
    }
    let less = if b.dtype() == DType::U8 { 128 } else { 0 };
    let values = as_int8(b)?;
    let depth = values.len() / columns.max(1);
    let mut table = Vec::with_capacity(4 * columns + 12);
    for column in 0..columns {
        let sum: i32 = values[column * depth..][..depth]
            .iter()
            .map(|&v| i32::from(v))
            .sum();
        let zero = zero_point[column % zero_point.len()] - less;
        let bias = if bias.is_empty() {
            0
        } else {
            bias[column % bias.len()]
        };
        let bits = scale[column % scale.len()].to_bits().cast_signed();
        table.extend([sum, zero, bias, bits]);
    }
    table.extend([0; 12]);
    HostTensor::from_vec([columns + 3, 4], table).map_err(host)
}

impl ConvShape {
    /// The same convolution counted in words of four channels.
    pub(crate) fn in_words(&self) -> Result<Self> {
        self.check(KERNEL)?;
        if self.groups > 1 && self.group_in() % 4 != 0 {
            let what = format!(
                "groups of {} channels do not begin at words",
                self.group_in()
            );
            return Err(Error::shape(KERNEL, what));
        }
        Ok(Self {
            in_channels: self.groups * self.group_in().div_ceil(4),
            ..self.clone()
        })
    }
}
