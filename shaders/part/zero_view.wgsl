//! Zero points on the device: one, or one a row or column (`zero_step` 0 or 1), for each batch (`zero_batch`, 0 for all).
//! `zero_less` is 128 for uint8.
//#param zero_step: u32
//#param zero_batch: u32
//#param zero_less: i32
@group(0) @binding(ZERO) var<storage, read> zero: array<i32>;
fn zero_of(at: u32, z: u32) -> i32 { return zero[z * p.zero_batch + at * p.zero_step] - p.zero_less; }
