//! Compressed sparse rows.

use super::{check_pattern, check_values, index, matrix_extents, zero_test};
use crate::{HostTensor, Result, Shape};

pub(super) const FORMAT: &str = "CSR";

/// A matrix whose row `r` has values `values[row_ptr[r]..row_ptr[r + 1]]` at the columns `col_idx` of the same range,
/// strictly rising.
#[derive(Clone, Debug, PartialEq)]
pub struct Csr {
    extents: [usize; 2],
    row_ptr: Vec<u32>,
    col_idx: Vec<u32>,
    values: HostTensor,
}

impl Csr {
    /// A matrix of `extents` = rows, columns from its parts; `values` is `[nnz]`.
    ///
    /// # Errors
    /// [`Error::Sparse`](crate::Error::Sparse) naming the broken invariant.
    pub fn new(
        extents: [usize; 2],
        row_ptr: Vec<u32>,
        col_idx: Vec<u32>,
        values: HostTensor,
    ) -> Result<Csr> {
        check_pattern(FORMAT, extents, &row_ptr, &col_idx)?;
        check_values(FORMAT, &values, Shape::from([col_idx.len()]))?;
        Ok(Csr {
            extents,
            row_ptr,
            col_idx,
            values,
        })
    }

    /// Drops the zeros of a dense matrix.
    ///
    /// # Errors
    /// [`Error::Sparse`](crate::Error::Sparse) where it is no matrix or has 2^32 or more values.
    pub fn from_dense(dense: &HostTensor) -> Result<Csr> {
        let [rows, cols] = matrix_extents(FORMAT, dense)?;
        let zero = zero_test(dense);
        let (mut row_ptr, mut col_idx, mut kept) = (vec![0], Vec::new(), Vec::new());
        for row in 0..rows {
            for col in 0..cols {
                if !zero(row * cols + col) {
                    col_idx.push(index(FORMAT, col)?);
                    kept.push(row * cols + col);
                }
            }
            row_ptr.push(index(FORMAT, kept.len())?);
        }
        Ok(Csr {
            extents: [rows, cols],
            row_ptr,
            col_idx,
            values: dense.select([kept.len()], kept)?,
        })
    }

    /// The matrix as `[rows, cols]`; errors are those of [`HostTensor::zeros`].
    pub fn to_dense(&self) -> Result<HostTensor> {
        let mut dense = HostTensor::zeros(self.values.dtype(), self.extents)?;
        let cols = self.extents[1];
        let row = |(row, ends): (usize, &[u32])| {
            let range = ends[0] as usize..ends[1] as usize;
            self.col_idx[range]
                .iter()
                .map(move |&c| row * cols + c as usize)
        };
        dense.place(
            &self.values,
            self.row_ptr.windows(2).enumerate().flat_map(row),
        )?;
        Ok(dense)
    }

    /// Rows and columns.
    pub fn extents(&self) -> [usize; 2] {
        self.extents
    }

    /// Where each row starts in `col_idx` and `values`; one more entry than rows.
    pub fn row_ptr(&self) -> &[u32] {
        &self.row_ptr
    }

    /// The column of each stored value.
    pub fn col_idx(&self) -> &[u32] {
        &self.col_idx
    }

    /// The stored values, `[nnz]`.
    pub fn values(&self) -> &HostTensor {
        &self.values
    }

    /// The transposed matrix, and for each of its values the place of that value in this matrix, so that new values can
    /// be carried over without sorting again.
    ///
    /// # Errors
    /// [`Error::Sparse`](crate::Error::Sparse) where there are 2^32 or more rows.
    pub fn transpose(&self) -> Result<(Csr, Vec<u32>)> {
        let [rows, cols] = self.extents;
        index(FORMAT, rows)?;
        let mut row_ptr = vec![0u32; cols + 1];
        for &col in &self.col_idx {
            row_ptr[col as usize + 1] += 1;
        }
        for col in 0..cols {
            row_ptr[col + 1] += row_ptr[col];
        }
        let mut next = row_ptr.clone();
        let mut col_idx = vec![0u32; self.col_idx.len()];
        let mut source = vec![0u32; self.col_idx.len()];
        for row in 0..rows {
            for at in self.row_ptr[row]..self.row_ptr[row + 1] {
                let to = &mut next[self.col_idx[at as usize] as usize];
                col_idx[*to as usize] = row as u32;
                source[*to as usize] = at;
                *to += 1;
            }
        }
        let order = source.iter().map(|&at| at as usize);
        let values = self.values.select([source.len()], order)?;
        let transposed = Csr {
            extents: [cols, rows],
            row_ptr,
            col_idx,
            values,
        };
        Ok((transposed, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> HostTensor {
        HostTensor::from_vec([count], vec![1f32; count]).unwrap()
    }

    #[test]
    fn invariants_are_checked() {
        let csr = |row_ptr: &[u32], col_idx: &[u32], count| {
            Csr::new([2, 3], row_ptr.to_vec(), col_idx.to_vec(), values(count))
        };
        assert!(csr(&[0, 1, 3], &[2, 0, 1], 3).is_ok());
        let fails = |row_ptr: &[u32], col_idx: &[u32], count| {
            csr(row_ptr, col_idx, count).unwrap_err().to_string()
        };
        assert!(fails(&[0, 3], &[2, 0, 1], 3).contains("one more than 2"));
        assert!(fails(&[], &[], 0).contains("one more than 2"));
        assert!(fails(&[0, 1, 2], &[2, 0, 1], 3).contains("expected 0 to 3"));
        assert!(fails(&[0, 4, 3], &[2, 0, 1], 3).contains("overruns at row 0"));
        assert!(fails(&[0, 0, 3], &[2, 0, 1], 3).contains("strictly rising"));
        assert!(fails(&[0, 0, 2], &[1, 1], 2).contains("strictly rising"));
        assert!(fails(&[0, 1, 2], &[0, 3], 2).contains("past 3"));
        assert!(fails(&[0, 1, 2], &[0, 1], 3).contains("values have shape"));
    }

    #[test]
    fn transposes_and_names_the_sources() {
        let dense = vec![0f32, 1.0, 2.0, 3.0, 0.0, 4.0];
        let dense = HostTensor::from_vec([2, 3], dense).unwrap();
        let (t, source) = Csr::from_dense(&dense).unwrap().transpose().unwrap();
        let expected = HostTensor::from_vec([3, 2], vec![0f32, 3.0, 1.0, 0.0, 2.0, 4.0]).unwrap();
        assert_eq!(t.to_dense().unwrap(), expected);
        assert_eq!(source, [2, 0, 1, 3]);
        assert_eq!(t, Csr::from_dense(&expected).unwrap());
    }
}
