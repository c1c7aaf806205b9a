//! The zero point of every row or column, known on the host, as int8 (128 less for uint8).
//#param zero_point: i32
fn zero_of(at: u32, z: u32) -> i32 { return p.zero_point; }
