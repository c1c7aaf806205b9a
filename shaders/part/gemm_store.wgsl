//! Four columns of a row of C: accumulator -> finish -> epilogue -> memory.
//! Set:   Acc (f32, i32)  Value (f32, i32)
//! Slots: c_put  finish  epilogue_at (none by default)
//#use place
//#use own
//#use epilogue
/// `own`: of these columns.
fn store4_at(row: u32, n4: u32, z: u32, acc: vec4<Acc>, own: Own) {
    let to = c_row(row, z);
    if row < p.m && n4 < p.n4 && to != NOWHERE {
        let col = c_col(z) + 4u * n4;
        let place = Place(to, col, z, c_base(z) + to * p.c_ld + col);
        c_put(place, p.n - 4u * n4, epilogue_at(finish(acc, place, own.scales), place, own.columns));
    }
}
fn store4(row: u32, n4: u32, z: u32, acc: vec4<Acc>) {
    if row < p.m && n4 < p.n4 { store4_at(row, n4, z, acc, own_columns(c_col(z) + 4u * n4, z)); }
}
