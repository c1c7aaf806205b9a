//! The product is some columns of C: those from `c_first` on.
//#param c_first: u32
fn c_row(row: u32, z: u32) -> u32 { return row; }
fn c_col(z: u32) -> u32 { return p.c_first; }
