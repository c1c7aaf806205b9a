//! Sparse matrices: compressed rows (CSR), compressed rows of blocks (BSR), and N:M patterns.
//!
//! All are matrices; a convolution's weight is one of `[out channels, the rest]`. Indices are u32, as kernels read them.

mod bsr;
mod csr;
mod nofm;

use std::fmt;

use crate::{DType, Error, HostTensor, Result, Shape};

pub use bsr::Bsr;
pub use csr::Csr;
pub use nofm::NofM;

/// A sparse matrix in one of the formats.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SparseTensor {
    /// Compressed sparse rows.
    Csr(Csr),
    /// Compressed sparse rows of dense blocks.
    Bsr(Bsr),
    /// At most N values in each group of M neighbours of a row.
    NofM(NofM),
}

impl SparseTensor {
    /// The name of the format: `CSR`, `BSR` or `N:M`.
    pub fn format(&self) -> &'static str {
        match self {
            SparseTensor::Csr(_) => csr::FORMAT,
            SparseTensor::Bsr(_) => bsr::FORMAT,
            SparseTensor::NofM(_) => nofm::FORMAT,
        }
    }

    /// Rows and columns.
    pub fn extents(&self) -> [usize; 2] {
        match self {
            SparseTensor::Csr(t) => t.extents(),
            SparseTensor::Bsr(t) => t.extents(),
            SparseTensor::NofM(t) => t.extents(),
        }
    }

    /// The stored values, shaped as the format says.
    pub fn values(&self) -> &HostTensor {
        match self {
            SparseTensor::Csr(t) => t.values(),
            SparseTensor::Bsr(t) => t.values(),
            SparseTensor::NofM(t) => t.values(),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.values().dtype()
    }

    /// The number of stored values; zeros inside stored blocks and groups count.
    pub fn nnz(&self) -> usize {
        self.values().len()
    }

    /// The share of elements that are not stored, 0 to 1; 0 for an empty matrix.
    pub fn sparsity(&self) -> f64 {
        let [rows, cols] = self.extents();
        let total = rows as f64 * cols as f64;
        if total == 0.0 {
            return 0.0;
        }
        // Padding of ragged blocks and groups is stored too, so there can be more values than elements.
        (1.0 - self.nnz() as f64 / total).max(0.0)
    }

    /// The matrix as a dense tensor `[rows, cols]`.
    ///
    /// # Errors
    /// [`Error::TooManyElements`], [`Error::OutOfMemory`].
    pub fn to_dense(&self) -> Result<HostTensor> {
        match self {
            SparseTensor::Csr(t) => t.to_dense(),
            SparseTensor::Bsr(t) => t.to_dense(),
            SparseTensor::NofM(t) => t.to_dense(),
        }
    }
}

impl From<Csr> for SparseTensor {
    fn from(tensor: Csr) -> Self {
        SparseTensor::Csr(tensor)
    }
}

impl From<Bsr> for SparseTensor {
    fn from(tensor: Bsr) -> Self {
        SparseTensor::Bsr(tensor)
    }
}

impl From<NofM> for SparseTensor {
    fn from(tensor: NofM) -> Self {
        SparseTensor::NofM(tensor)
    }
}

/// `CSR f32[64, 64], 410 stored, sparsity 0.900`.
impl fmt::Display for SparseTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = Shape::from(self.extents());
        let (format, dtype, sparsity) = (self.format(), self.dtype(), self.sparsity());
        let nnz = self.nnz();
        write!(
            f,
            "{format} {dtype}{shape}, {nnz} stored, sparsity {sparsity:.3}"
        )
    }
}

/// Rows and columns of a dense tensor that is to become sparse.
fn matrix_extents(format: &'static str, dense: &HostTensor) -> Result<[usize; 2]> {
    match dense.shape()[..] {
        [rows, cols] => Ok([rows, cols]),
        _ => Err(Error::Sparse {
            format,
            what: format!("expected a matrix, got shape {}", dense.shape()),
        }),
    }
}

/// Whether the element at a linear offset is zero; -0.0 is, NaN is not.
fn zero_test(dense: &HostTensor) -> impl Fn(usize) -> bool {
    let (bytes, size) = (dense.bytes(), dense.dtype().size_bytes());
    let sign = if dense.dtype().is_float() { 0x80 } else { 0 };
    move |at| {
        let element = &bytes[at * size..(at + 1) * size];
        let (top, rest) = (element[size - 1], &element[..size - 1]);
        top & !sign == 0 && rest.iter().all(|&byte| byte == 0)
    }
}

fn index(format: &'static str, value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::Sparse {
        format,
        what: format!("index {value} does not fit 32 bits"),
    })
}

/// Checks the pattern of a compressed matrix of `rows` x `cols` entries (blocks for BSR): `row_ptr` runs from 0 to the number
/// of column indices without falling, and columns rise strictly within a row.
fn check_pattern(
    format: &'static str,
    [rows, cols]: [usize; 2],
    row_ptr: &[u32],
    col_idx: &[u32],
) -> Result<()> {
    let fail = |what: String| Err(Error::Sparse { format, what });
    if row_ptr.len().checked_sub(1) != Some(rows) {
        let got = row_ptr.len();
        return fail(format!(
            "row_ptr needs one more than {rows} entries, got {got}"
        ));
    }
    let (first, last) = (row_ptr[0] as usize, row_ptr[rows] as usize);
    if first != 0 || last != col_idx.len() {
        let nnz = col_idx.len();
        return fail(format!(
            "row_ptr runs from {first} to {last}, expected 0 to {nnz}"
        ));
    }
    for (row, ends) in row_ptr.windows(2).enumerate() {
        let Some(columns) = col_idx.get(ends[0] as usize..ends[1] as usize) else {
            return fail(format!("row_ptr falls or overruns at row {row}"));
        };
        if columns.windows(2).any(|pair| pair[0] >= pair[1]) {
            return fail(format!("columns of row {row} are not strictly rising"));
        }
        if columns.last().is_some_and(|&c| c as usize >= cols) {
            return fail(format!("row {row} has a column past {cols}"));
        }
    }
    Ok(())
}

/// Checks that stored values have the shape that their pattern asks for.
fn check_values(format: &'static str, values: &HostTensor, expected: Shape) -> Result<()> {
    if *values.shape() == expected {
        return Ok(());
    }
    Err(Error::Sparse {
        format,
        what: format!("values have shape {}, expected {expected}", values.shape()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrices() -> impl Strategy<Value = HostTensor> {
        let dtype = prop::sample::select(vec![DType::F32, DType::F16, DType::I8, DType::F64]);
        (0usize..9, 0usize..9, dtype).prop_flat_map(|(rows, cols, dtype)| {
            let value = prop_oneof![3 => Just(0.0), 1 => -100.0..100.0f64];
            prop::collection::vec(value, rows * cols)
                .prop_map(move |v| HostTensor::from_f64(dtype, [rows, cols], v).unwrap())
        })
    }

    fn zeros_of(dense: &HostTensor) -> usize {
        dense.to_f64().iter().filter(|&&v| v == 0.0).count()
    }

    proptest! {
        #[test]
        fn csr_round_trips(dense in matrices()) {
            let sparse = SparseTensor::from(Csr::from_dense(&dense).unwrap());
            prop_assert_eq!(sparse.nnz(), dense.len() - zeros_of(&dense));
            prop_assert_eq!(sparse.to_dense().unwrap(), dense);
        }

        #[test]
        fn bsr_round_trips(dense in matrices(), block in (1usize..5, 1usize..5)) {
            let sparse = Bsr::from_dense(&dense, block.into()).unwrap();
            prop_assert_eq!(sparse.to_dense().unwrap(), dense);
        }

        #[test]
        fn n_of_m_round_trips_or_names_the_group(dense in matrices(), n in 1usize..5, more in 0usize..4) {
            let m = n + more;
            let rows: Vec<f64> = dense.to_f64();
            let cols = dense.shape()[1].max(1);
            let crowded = rows
                .chunks(cols)
                .flat_map(|row| row.chunks(m))
                .any(|group| group.iter().filter(|&&v| v != 0.0).count() > n);
            match NofM::from_dense(&dense, n, m) {
                Ok(sparse) => {
                    prop_assert!(!crowded);
                    prop_assert_eq!(sparse.to_dense().unwrap(), dense);
                }
                Err(error) => {
                    prop_assert!(crowded, "{error}");
                }
            }
        }
    }

    #[test]
    fn negative_zero_is_zero_and_nan_is_not() {
        let dense = HostTensor::from_vec([1, 3], vec![-0.0f32, f32::NAN, 0.0]).unwrap();
        let sparse = Csr::from_dense(&dense).unwrap();
        assert_eq!(sparse.col_idx(), [1]);
    }

    #[test]
    fn display_and_sparsity() {
        let mut values = vec![0f32; 64];
        values[9] = 1.0;
        let dense = HostTensor::from_vec([8, 8], values).unwrap();
        let csr = SparseTensor::from(Csr::from_dense(&dense).unwrap());
        assert_eq!(csr.to_string(), "CSR f32[8, 8], 1 stored, sparsity 0.984");
        let bsr = SparseTensor::from(Bsr::from_dense(&dense, [4, 4]).unwrap());
        assert_eq!(bsr.sparsity(), 0.75);
        let half = SparseTensor::from(NofM::from_dense(&dense, 2, 4).unwrap());
        assert_eq!(half.sparsity(), 0.5);
        assert!(Csr::from_dense(&dense.reshape([64]).unwrap()).is_err());
    }
}
