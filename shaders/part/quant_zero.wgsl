//! Zero points from memory, one for each scale.
@group(0) @binding(ZERO) var<storage, read> zero: array<i32>;
fn zero_of(s: u32) -> i32 { return zero[s]; }
