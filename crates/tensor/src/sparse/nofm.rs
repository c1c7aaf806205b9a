//! N:M sparsity: at most N values in each group of M neighbours of a row.

use super::{check_values, matrix_extents, zero_test};
use crate::{Error, HostTensor, Result, Shape};

pub(super) const FORMAT: &str = "N:M";

/// A matrix whose rows are cut into groups of `m` columns, each of which stores exactly `n` values and where in the group
/// they stand. Groups with fewer values store zeros; the last group may reach past the last column with zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct NofM {
    extents: [usize; 2],
    n: usize,
    m: usize,
    positions: Vec<u8>,
    values: HostTensor,
}

impl NofM {
    /// A matrix of `extents` = rows, columns from its parts. `values` is `[rows, groups * n]` with groups = ceil(columns / m);
    /// `positions` has the same layout and rises strictly within a group.
    ///
    /// # Errors
    /// [`Error::Sparse`] naming the broken invariant.
    pub fn new(
        extents: [usize; 2],
        (n, m): (usize, usize),
        positions: Vec<u8>,
        values: HostTensor,
    ) -> Result<NofM> {
        check_pattern(n, m)?;
        let [rows, cols] = extents;
        let slots = cols.div_ceil(m).saturating_mul(n);
        let shape = Shape::from([rows, slots]);
        let expected = shape.elements()?;
        check_values(FORMAT, &values, shape)?;
        let fail = |what: String| {
            Err(Error::Sparse {
                format: FORMAT,
                what,
            })
        };
        if positions.len() != expected {
            let got = positions.len();
            return fail(format!("expected {expected} positions, got {got}"));
        }
        for (group, at) in positions.chunks(n).enumerate() {
            let rising = at.windows(2).all(|pair| pair[0] < pair[1]);
            if !rising || usize::from(at[n - 1]) >= m {
                return fail(format!(
                    "positions {at:?} of group {group} do not rise below {m}"
                ));
            }
        }
        let sparse = NofM {
            extents,
            n,
            m,
            positions,
            values,
        };
        if sparse.overhangs() {
            return fail(format!("a value stands past column {cols}"));
        }
        Ok(sparse)
    }

    /// Keeps the values of a dense matrix.
    ///
    /// # Errors
    /// [`Error::Sparse`] where it is no matrix, `0 < n <= m <= 256` does not hold, or a group has more than `n` values.
    pub fn from_dense(dense: &HostTensor, n: usize, m: usize) -> Result<NofM> {
        check_pattern(n, m)?;
        let extents @ [rows, cols] = matrix_extents(FORMAT, dense)?;
        let zero = zero_test(dense);
        let groups = cols.div_ceil(m);
        let mut positions = Vec::new();
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for row in 0..rows {
            for group in 0..groups {
                let start = row * cols + group * m;
                let inside = m.min(cols - group * m);
                let mut kept: Vec<usize> = (0..inside).filter(|&p| !zero(start + p)).collect();
                if kept.len() > n {
                    let count = kept.len();
                    let what =
                        format!("row {row} has {count} values in group {group}, more than {n}");
                    return Err(Error::Sparse {
                        format: FORMAT,
                        what,
                    });
                }
                // Fill up with the first free positions, whose values are zero.
                let free = (0..m).filter(|p| !kept.contains(p));
                let fill: Vec<usize> = free.take(n - kept.len()).collect();
                kept.extend(fill);
                kept.sort_unstable();
                for p in kept {
                    if p < inside {
                        from.push(start + p);
                        to.push(positions.len());
                    }
                    positions.push(p as u8);
                }
            }
        }
        let mut values = HostTensor::zeros(dense.dtype(), [rows, groups * n])?;
        values.place(&dense.select([from.len()], from)?, to)?;
        Ok(NofM {
            extents,
            n,
            m,
            positions,
            values,
        })
    }

    /// The matrix as `[rows, cols]`; errors are those of [`HostTensor::zeros`].
    pub fn to_dense(&self) -> Result<HostTensor> {
        let mut dense = HostTensor::zeros(self.values.dtype(), self.extents)?;
        let cells = self.cells().enumerate();
        let (from, to): (Vec<usize>, Vec<usize>) =
            cells.filter_map(|(slot, at)| Some((slot, at?))).unzip();
        dense.place(&self.values.select([from.len()], from)?, to)?;
        Ok(dense)
    }

    /// Whether a value other than zero stands past the last column.
    fn overhangs(&self) -> bool {
        let zero = zero_test(&self.values);
        let mut cells = self.cells().enumerate();
        cells.any(|(slot, at)| at.is_none() && !zero(slot))
    }

    /// For each slot the linear offset in the matrix; `None` past the last column.
    fn cells(&self) -> impl Iterator<Item = Option<usize>> {
        let cols = self.extents[1];
        let slots = cols.div_ceil(self.m) * self.n;
        self.positions
            .iter()
            .enumerate()
            .map(move |(slot, &position)| {
                let (row, slot) = (slot / slots, slot % slots);
                let col = slot / self.n * self.m + usize::from(position);
                (col < cols).then_some(row * cols + col)
            })
    }

    /// Rows and columns.
    pub fn extents(&self) -> [usize; 2] {
        self.extents
    }

    /// Values a group stores.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Columns a group spans, at most 256.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Where in its group each stored value stands, `[rows, groups * n]`, strictly rising within a group.
    pub fn positions(&self) -> &[u8] {
        &self.positions
    }

    /// The stored values, `[rows, groups * n]`.
    pub fn values(&self) -> &HostTensor {
        &self.values
    }
}

fn check_pattern(n: usize, m: usize) -> Result<()> {
    if 0 < n && n <= m && m <= 256 {
        return Ok(());
    }
    Err(Error::Sparse {
        format: FORMAT,
        what: format!("{n}:{m} is no pattern; 0 < N <= M <= 256 must hold"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_up_groups() {
        let dense = HostTensor::from_vec([1, 6], vec![0i32, 0, 0, 7, 0, 5]).unwrap();
        let sparse = NofM::from_dense(&dense, 2, 4).unwrap();
        assert_eq!(sparse.positions(), [0, 3, 0, 1]);
        assert_eq!(sparse.values().as_slice::<i32>().unwrap(), [0, 7, 0, 5]);
        let error = NofM::from_dense(&dense, 1, 6).unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid N:M tensor: row 0 has 2 values in group 0, more than 1"
        );
    }

    #[test]
    fn invariants_are_checked() {
        let make = |pattern, positions: &[u8], last: f32| {
            let values = HostTensor::from_vec([1, 4], vec![1.0, 2.0, 3.0, last]).unwrap();
            NofM::new([1, 7], pattern, positions.to_vec(), values)
        };
        assert!(make((2, 4), &[0, 1, 0, 2], 4.0).is_ok());
        assert!(make((2, 4), &[0, 1, 0, 3], 0.0).is_ok());
        assert!(make((2, 4), &[0, 1, 0, 3], 4.0).is_err());
        assert!(make((2, 4), &[1, 1, 0, 2], 0.0).is_err());
        assert!(make((2, 4), &[0, 4, 0, 2], 0.0).is_err());
        assert!(make((2, 4), &[0, 1, 0], 0.0).is_err());
        for pattern in [(0, 4), (5, 4), (2, 257)] {
            assert!(make(pattern, &[0, 1, 0, 2], 0.0).is_err());
        }
    }
}
