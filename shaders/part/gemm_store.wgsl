//! Four columns of a row of C: accumulator -> finish -> epilogue -> memory.
//! Set:   Acc (f32, i32)  Value (f32, i32)
//! Slots: c_base  c_row c_col  c_put  finish  epilogue (none by default)
//#use c_size
//#use epilogue
//#param c_ld: u32

/// The `c_row` of a row that is not stored.
const NOWHERE = 0xffffffffu;

/// Where four consecutive columns of C lie: the first of them is column `n` (over all groups) of row `row` of batch `z`,
/// and element `at` of C. The last of them may lie past the end of the row: `c_put` stores those that are `left`.
struct Place { row: u32, n: u32, z: u32, at: u32 }

fn store4(row: u32, n4: u32, z: u32, acc: vec4<Acc>) {
    let to = c_row(row, z);
    if row < p.m && n4 < p.n4 && to != NOWHERE {
        let col = c_col(z) + 4u * n4;
        let place = Place(to, col, z, c_base(z) + to * p.c_ld + col);
        c_put(place, p.n - 4u * n4, epilogue(finish(acc, place), place));
    }
}
