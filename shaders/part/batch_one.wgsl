//! One batch axis: each operand has a stride in elements, 0 where it is broadcast.
//#param a_batch: u32
//#param b_batch: u32
//#param c_batch: u32
fn a_base(z: u32) -> u32 { return z * p.a_batch; }
fn b_base(z: u32) -> u32 { return z * p.b_batch; }
fn c_base(z: u32) -> u32 { return z * p.c_batch; }
