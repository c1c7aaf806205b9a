//! Where results of a product are stored.
//! Slots: c_base  c_row c_col
//#use c_size
//#param c_ld: u32

/// The `c_row` of a row that is not stored.
const NOWHERE = 0xffffffffu;

/// Where four consecutive columns of C lie: the first of them is column `n` (over all groups) of row `row` of batch `z`,
/// and element `at` of C. The last of them may lie past the end of the row: `c_put` stores those that are `left`.
struct Place { row: u32, n: u32, z: u32, at: u32 }
