//! A batch is a group that owns `group_cols` columns of C.
//#param group_cols: u32
fn c_row(row: u32, z: u32) -> u32 { return row; }
fn c_col(z: u32) -> u32 { return z * p.group_cols; }
