//! Zero points of 0.
fn zero_of(s: u32) -> i32 { return 0; }
