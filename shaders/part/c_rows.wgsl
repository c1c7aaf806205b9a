//! Rows and columns of the product are rows and columns of C.
fn c_row(row: u32, z: u32) -> u32 { return row; }
fn c_col(z: u32) -> u32 { return 0u; }
