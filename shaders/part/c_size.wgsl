//! Rows and columns of C in one batch; `n4` is a quarter of the columns, rounded up.
//#param m: u32
//#param n: u32
//#param n4: u32
