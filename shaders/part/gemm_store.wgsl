//! Four columns of a row of C: accumulator -> finish -> epilogue -> memory.
//! Set:   Acc (f32, i32)  Value (f32, i32)
//! Slots: c_base  finish  epilogue  c_put
//#use gemm_grid
//#use finish
//#use epilogue
//#param c_ld: u32

/// Where four consecutive columns of C lie: the first of them is column `n` of row `row` of batch `z`, and element `at`
/// of C. Where n is not a multiple of 4, the last of them may lie past the end of the row: they are not stored.
struct Place { row: u32, n: u32, z: u32, at: u32 }

fn store4(row: u32, n4: u32, z: u32, acc: vec4<Acc>) {
    if row < p.m && n4 < p.n4 {
        let place = Place(row, 4u * n4, z, c_base(z) + row * p.c_ld + 4u * n4);
        c_put(place, epilogue(finish(acc, place), place));
    }
}
