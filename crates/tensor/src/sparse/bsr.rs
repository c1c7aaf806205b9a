//! Compressed sparse rows of dense blocks.

use std::collections::BTreeSet;

use super::{check_pattern, check_values, index, matrix_extents, zero_test};
use crate::{Error, HostTensor, Result, Shape};

pub(super) const FORMAT: &str = "BSR";

/// A matrix cut into blocks of `block_size` = (rows, columns), of which those with a value are stored in rows of
/// blocks as CSR stores values. Blocks past the last row or column are padded with zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct Bsr {
    extents: [usize; 2],
    block_size: [usize; 2],
    row_ptr: Vec<u32>,
    col_idx: Vec<u32>,
    values: HostTensor,
}

impl Bsr {
    /// A matrix of `extents` = rows, columns from its parts; `values` is `[blocks, block rows, block columns]`.
    /// What lies in the padding is ignored.
    ///
    /// # Errors
    /// [`Error::Sparse`] naming the broken invariant.
    pub fn new(
        extents: [usize; 2],
        block_size: [usize; 2],
        row_ptr: Vec<u32>,
        col_idx: Vec<u32>,
        values: HostTensor,
    ) -> Result<Bsr> {
        let grid = grid(extents, block_size)?;
        check_pattern(FORMAT, grid, &row_ptr, &col_idx)?;
        let [height, width] = block_size;
        let shape = Shape::from([col_idx.len(), height, width]);
        check_values(FORMAT, &values, shape)?;
        Ok(Bsr {
            extents,
            block_size,
            row_ptr,
            col_idx,
            values,
        })
    }

    /// Drops the blocks of a dense matrix that are all zero.
    ///
    /// # Errors
    /// [`Error::Sparse`] where it is no matrix, a block has no elements, or there are 2^32 or more blocks.
    pub fn from_dense(dense: &HostTensor, block_size: [usize; 2]) -> Result<Bsr> {
        let extents = matrix_extents(FORMAT, dense)?;
        let [block_rows, block_cols] = grid(extents, block_size)?;
        let zero = zero_test(dense);
        let (mut row_ptr, mut col_idx, mut corners) = (vec![0], Vec::new(), Vec::new());
        for row in 0..block_rows {
            for col in 0..block_cols {
                let mut cells = Cells::new(extents, block_size, [row, col]);
                if cells.any(|(_, at)| !zero(at)) {
                    col_idx.push(index(FORMAT, col)?);
                    corners.push([row, col]);
                }
            }
            row_ptr.push(index(FORMAT, corners.len())?);
        }
        let [height, width] = block_size;
        let shape = Shape::from([corners.len(), height, width]);
        let mut values = HostTensor::zeros(dense.dtype(), shape)?;
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for (block, corner) in corners.into_iter().enumerate() {
            for (inside, at) in Cells::new(extents, block_size, corner) {
                from.push(at);
                to.push(block * height * width + inside);
            }
        }
        values.place(&dense.select([from.len()], from)?, to)?;
        Ok(Bsr {
            extents,
            block_size,
            row_ptr,
            col_idx,
            values,
        })
    }

    /// Checks the pattern of a matrix of `extents` without its values: `row_ptr` runs from 0 to the number of blocks without
    /// falling, and the columns of a row of blocks rise strictly and lie inside.
    ///
    /// # Errors
    /// [`Error::Sparse`] naming the broken invariant.
    pub fn check(
        extents: [usize; 2],
        block_size: [usize; 2],
        row_ptr: &[u32],
        col_idx: &[u32],
    ) -> Result<()> {
        check_pattern(FORMAT, grid(extents, block_size)?, row_ptr, col_idx)
    }

    /// The same matrix in blocks of another size: those that hold an element of a stored block, the rest of them zeros.
    ///
    /// # Errors
    /// [`Error::Sparse`] where a block has no elements or there are 2^32 or more; [`Error::OutOfMemory`].
    pub fn in_blocks(&self, block_size: [usize; 2]) -> Result<Bsr> {
        let [block_rows, _] = grid(self.extents, block_size)?;
        let [height, width] = block_size;
        let mut rows = vec![BTreeSet::new(); block_rows];
        for (corner, _) in self.stored() {
            let inside = Cells::new(self.extents, self.block_size, corner).inside;
            let first = [
                corner[0] * self.block_size[0],
                corner[1] * self.block_size[1],
            ];
            let last = [first[0] + inside[0] - 1, first[1] + inside[1] - 1];
            for row in &mut rows[first[0] / height..=last[0] / height] {
                row.extend(first[1] / width..=last[1] / width);
            }
        }
        let (mut row_ptr, mut col_idx) = (vec![0], Vec::new());
        for row in rows {
            for col in row {
                col_idx.push(index(FORMAT, col)?);
            }
            row_ptr.push(index(FORMAT, col_idx.len())?);
        }
        let shape = Shape::from([col_idx.len(), height, width]);
        let mut values = HostTensor::zeros(self.values.dtype(), shape)?;
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for (corner, block) in self.stored() {
            for (inside, at) in Cells::new(self.extents, self.block_size, corner) {
                let [row, col] = [at / self.extents[1], at % self.extents[1]];
                let start = row_ptr[row / height] as usize;
                let blocks = &col_idx[start..row_ptr[row / height + 1] as usize];
                let block_of = start + blocks.partition_point(|&c| (c as usize) < col / width);
                from.push(block * self.block_size[0] * self.block_size[1] + inside);
                to.push((block_of * height + row % height) * width + col % width);
            }
        }
        values.place(&self.values.select([from.len()], from)?, to)?;
        Ok(Bsr {
            extents: self.extents,
            block_size,
            row_ptr,
            col_idx,
            values,
        })
    }

    /// The stored blocks in order: row and column of blocks, and place among the values.
    fn stored(&self) -> impl Iterator<Item = ([usize; 2], usize)> + '_ {
        self.row_ptr
            .windows(2)
            .enumerate()
            .flat_map(move |(row, ends)| {
                let blocks = ends[0] as usize..ends[1] as usize;
                blocks.map(move |block| ([row, self.col_idx[block] as usize], block))
            })
    }

    /// The share of the blocks of a dense matrix that are all zero, 0 to 1; 0 for an empty matrix.
    ///
    /// # Errors
    /// [`Error::Sparse`] where it is no matrix or a block has no elements.
    pub fn block_sparsity(dense: &HostTensor, block_size: [usize; 2]) -> Result<f64> {
        let extents = matrix_extents(FORMAT, dense)?;
        let [rows, cols] = grid(extents, block_size)?;
        let zero = zero_test(dense);
        let is_zero = |corner| Cells::new(extents, block_size, corner).all(|(_, at)| zero(at));
        let corners = (0..rows).flat_map(|row| (0..cols).map(move |col| [row, col]));
        let zeros = corners.filter(|&corner| is_zero(corner)).count();
        Ok(if zeros == 0 {
            0.0
        } else {
            zeros as f64 / (rows as f64 * cols as f64)
        })
    }

    /// The matrix as `[rows, cols]`; errors are those of [`HostTensor::zeros`].
    pub fn to_dense(&self) -> Result<HostTensor> {
        let mut dense = HostTensor::zeros(self.values.dtype(), self.extents)?;
        let [height, width] = self.block_size;
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for (corner, block) in self.stored() {
            for (inside, at) in Cells::new(self.extents, self.block_size, corner) {
                from.push(block * height * width + inside);
                to.push(at);
            }
        }
        dense.place(&self.values.select([from.len()], from)?, to)?;
        Ok(dense)
    }

    /// Rows and columns.
    pub fn extents(&self) -> [usize; 2] {
        self.extents
    }

    /// Rows and columns of a block.
    pub fn block_size(&self) -> [usize; 2] {
        self.block_size
    }

    /// Where each row of blocks starts in `col_idx` and `values`; one more entry than rows of blocks.
    pub fn row_ptr(&self) -> &[u32] {
        &self.row_ptr
    }

    /// The block column of each stored block.
    pub fn col_idx(&self) -> &[u32] {
        &self.col_idx
    }

    /// The stored blocks, `[blocks, block rows, block columns]`.
    pub fn values(&self) -> &HostTensor {
        &self.values
    }
}

/// Rows and columns of blocks.
fn grid(extents: [usize; 2], block_size: [usize; 2]) -> Result<[usize; 2]> {
    let [height, width] = block_size;
    let area = height.checked_mul(width).filter(|&area| area > 0);
    if area.is_none() {
        let what = format!("invalid block size {height}x{width}");
        return Err(Error::Sparse {
            format: FORMAT,
            what,
        });
    }
    Ok([extents[0].div_ceil(height), extents[1].div_ceil(width)])
}

/// The elements of one block that lie in the matrix: (offset in the block, offset in the matrix).
struct Cells {
    /// Rows and columns of the block that are inside.
    inside: [usize; 2],
    width: usize,
    cols: usize,
    first: usize,
    at: [usize; 2],
}

impl Cells {
    fn new(extents: [usize; 2], block_size: [usize; 2], [row, col]: [usize; 2]) -> Self {
        let start = [row * block_size[0], col * block_size[1]];
        let inside = [0, 1].map(|axis| block_size[axis].min(extents[axis] - start[axis]));
        Cells {
            inside,
            width: block_size[1],
            cols: extents[1],
            first: start[0] * extents[1] + start[1],
            at: [0, 0],
        }
    }
}

impl Iterator for Cells {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let [row, col] = self.at;
        if row == self.inside[0] {
            return None;
        }
        self.at = if col + 1 == self.inside[1] {
            [row + 1, 0]
        } else {
            [row, col + 1]
        };
        let inside = row * self.width + col;
        Some((inside, self.first + row * self.cols + col))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_blocks_are_padded_with_zeros() {
        let dense: Vec<f32> = (1..=9).map(|v| v as f32).collect();
        let dense = HostTensor::from_vec([3, 3], dense).unwrap();
        let bsr = Bsr::from_dense(&dense, [2, 2]).unwrap();
        assert_eq!(bsr.row_ptr(), [0, 2, 4]);
        assert_eq!(bsr.col_idx(), [0, 1, 0, 1]);
        let blocks = bsr.values().as_slice::<f32>().unwrap();
        assert_eq!(blocks[4..8], [3.0, 0.0, 6.0, 0.0]);
        assert_eq!(blocks[12..], [9.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn other_blocks_hold_the_same_elements() {
        let at = |i: usize| {
            if i / 11 % 5 == 0 || i % 7 == 3 {
                i as f32
            } else {
                0.0
            }
        };
        let dense = HostTensor::from_vec([13, 11], (0..143).map(at).collect()).unwrap();
        let bsr = Bsr::from_dense(&dense, [3, 2]).unwrap();
        for block in [[1, 1], [4, 4], [2, 3], [32, 5], [3, 2]] {
            let other = bsr.in_blocks(block).unwrap();
            assert_eq!(other.to_dense().unwrap(), dense, "{block:?}");
            Bsr::check([13, 11], block, other.row_ptr(), other.col_idx()).unwrap();
        }
        assert_eq!(bsr.in_blocks([3, 2]).unwrap(), bsr);
        let stored = bsr.col_idx().len() as f64;
        assert_eq!(
            Bsr::block_sparsity(&dense, [3, 2]).unwrap(),
            (30.0 - stored) / 30.0
        );
        assert!(bsr.in_blocks([0, 1]).is_err());
    }

    #[test]
    fn what_lies_in_the_padding_does_not_reach_other_blocks() {
        let values = HostTensor::from_vec([1, 2, 2], vec![1.0, f32::NAN, 2.0, f32::NAN]).unwrap();
        let bsr = Bsr::new([2, 3], [2, 2], vec![0, 1], vec![1], values).unwrap();
        let other = bsr.in_blocks([2, 4]).unwrap();
        let blocks = other.values().as_slice::<f32>().unwrap();
        assert_eq!(blocks, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn invariants_are_checked() {
        let values = HostTensor::from_vec([1, 2, 2], vec![1f32; 4]).unwrap();
        let bsr = |row_ptr: &[u32], col: u32, block| {
            Bsr::new([4, 4], block, row_ptr.to_vec(), vec![col], values.clone())
        };
        assert!(bsr(&[0, 0, 1], 1, [2, 2]).is_ok());
        assert!(bsr(&[0, 0, 1], 2, [2, 2]).is_err());
        assert!(bsr(&[0, 1], 1, [2, 2]).is_err());
        assert!(bsr(&[0, 0, 1], 1, [2, 1]).is_err());
        for block in [[0, 2], [2, 0], [usize::MAX, 2]] {
            let error = bsr(&[0, 0, 1], 1, block).unwrap_err().to_string();
            assert!(error.contains("block size"), "{error}");
        }
    }
}
