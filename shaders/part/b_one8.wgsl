//! Operand B in words of four 8-bit integers. `b_flip` is 0x80808080 for uint8, which makes int8 of it (value - 128).
//#param b_flip: u32
@group(0) @binding(B) var<storage, read> b: array<u32>;
fn b_one(at: u32) -> u32 { return b[at] ^ p.b_flip; }
