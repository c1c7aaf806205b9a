//! Constant operands laid out for the loops, on the host.

use std::ops::Range;

use tilewright_device::Caps;
use tilewright_tensor::{DType, HostTensor};

use crate::gemm_loop::reg_lanes;
use crate::{Error, Result};

/// Columns of a panel of packed B: those of one subgroup where the register loop runs, else 64.
#[must_use]
pub fn panel_width(caps: &Caps) -> usize {
    reg_lanes(caps).map_or(64, |lanes| 4 * lanes as usize)
}

/// Packs a constant B of shape \[.., k, n\] (\[.., n, k\] with `trans`) into panels of `width` columns: shape
/// \[.., panels, k rounded up to 4, width\], padded with zeros. f32 and f16.
///
/// # Errors
/// [`Error::Shape`] for rank below 2 or a width that is no multiple of 8, and where memory is short.
pub fn pack_b(b: &HostTensor, trans: bool, width: usize) -> Result<HostTensor> {
    let axis = if trans { 2 } else { 1 };
    let n = b.rank().checked_sub(axis).map_or(0, |axis| b.shape()[axis]);
    pack_b_columns(b, trans, width, 0..n)
}

/// [`pack_b`] of some of the columns.
///
/// # Errors
/// As [`pack_b`], and for columns that are not there.
pub fn pack_b_columns(
    b: &HostTensor,
    trans: bool,
    width: usize,
    columns: Range<usize>,
) -> Result<HostTensor> {
    let shape = b.shape().to_vec();
    let Some((batch, &[rows, cols])) = shape.split_last_chunk() else {
        return Err(Error::shape(
            "pack_b",
            format!("B is {shape:?}, expected rank 2 or more"),
        ));
    };
    let (k, n) = if trans { (cols, rows) } else { (rows, cols) };
    let (k_stride, n_stride) = if trans { (1, cols) } else { (cols, 1) };
    // The register loop reads two blocks of four columns at once.
    if width % 8 != 0 {
        let what = format!("panels of {width} columns, expected a multiple of 8");
        return Err(Error::shape("pack_b", what));
    }
    if columns.start > columns.end || columns.end > n {
        let what = format!("columns {columns:?} of {n}");
        return Err(Error::shape("pack_b", what));
    }
    let blocks = Panels {
        n: columns.len(),
        k,
        blocks: 1,
        width,
    };
    let batches = batch.iter().product();
    let mut packed = blocks.pack(b, batches, |z, _, k, n| {
        z * rows * cols + k * k_stride + (columns.start + n) * n_stride
    })?;
    let mut packed_shape = batch.to_vec();
    packed_shape.extend(blocks.shape());
    packed = packed.reshape(packed_shape).map_err(host)?;
    Ok(packed)
}

/// The panels of a B of `blocks` k blocks of `k` rows each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panels {
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) blocks: usize,
    pub(crate) width: usize,
}

impl Panels {
    /// Panels, rows of a panel, columns of a panel.
    pub(crate) fn shape(&self) -> [usize; 3] {
        let rows = self.blocks * self.k.next_multiple_of(4);
        [self.n.div_ceil(self.width.max(1)), rows, self.width]
    }

    /// Fills panels for `batches` matrices with the element of `from` at `at(batch, block, k, n)`.
    pub(crate) fn pack(
        &self,
        from: &HostTensor,
        batches: usize,
        at: impl Fn(usize, usize, usize, usize) -> usize,
    ) -> Result<HostTensor> {
        if self.width == 0 || self.width % 4 != 0 {
            return Err(Error::shape(
                "pack_b",
                format!("panels of {} columns", self.width),
            ));
        }
        match from.dtype() {
            DType::F32 => self.pack_as::<f32>(from, batches, at),
            DType::F16 => self.pack_as::<half::f16>(from, batches, at),
            dtype => Err(Error::shape(
                "pack_b",
                format!("B is {dtype}, expected f32 or f16"),
            )),
        }
    }

    fn pack_as<T: tilewright_tensor::Element + Default>(
        &self,
        from: &HostTensor,
        batches: usize,
        at: impl Fn(usize, usize, usize, usize) -> usize,
    ) -> Result<HostTensor> {
        let [panels, rows, width] = self.shape();
        let source = from.as_slice::<T>().map_err(host)?;
        let mut packed = Vec::new();
        let total = batches * panels * rows * width;
        packed
            .try_reserve_exact(total)
            .map_err(|_| Error::shape("pack_b", format!("no memory for {total} elements")))?;
        self.each(batches, |place| {
            packed.push(place.map_or(T::default(), |(z, block, k, n)| source[at(z, block, k, n)]));
        });
        HostTensor::from_vec([batches, panels, rows, width], packed).map_err(host)
    }

    /// Calls `see` for every element in order with its (batch, block, k, n), `None` for padding.
    pub(crate) fn each(
        &self,
        batches: usize,
        mut see: impl FnMut(Option<(usize, usize, usize, usize)>),
    ) {
        let [panels, rows, width] = self.shape();
        let padded = self.k.next_multiple_of(4);
        for z in 0..batches {
            for (panel, row) in (0..panels).flat_map(|panel| (0..rows).map(move |row| (panel, row)))
            {
                let (block, k) = (row / padded, row % padded);
                for n in panel * width..(panel + 1) * width {
                    let inside = k < self.k && n < self.n;
                    see(inside.then_some((z, block, k, n)));
                }
            }
        }
    }
}

/// An error of the host tensor.
pub(crate) fn host(error: tilewright_tensor::Error) -> Error {
    Error::shape("pack", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_are_of_whole_pairs_of_blocks() {
        let b = HostTensor::from_slice([2, 3], &[1.0f32; 6]).unwrap();
        assert_eq!(pack_b(&b, false, 8).unwrap().shape()[..], [1, 4, 8]);
        let error = pack_b(&b, false, 12).unwrap_err().to_string();
        assert!(
            error.contains("12 columns, expected a multiple of 8"),
            "{error}"
        );
    }
}
