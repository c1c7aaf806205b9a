//! What four columns of C read on the way to memory that is the same in every row: loaded once by loops over rows.
//! Slots: Scales scales (of the arithmetic)  Columns columns (of the epilogue)
struct Own { scales: Scales, columns: Columns }
fn own_columns(n: u32, z: u32) -> Own { return Own(scales(n, z), columns(n)); }
