//! Operand B in words of four 8-bit integers. `b_flip` is 0x80808080 where their sign is
//! changed: uint8 becomes int8 (128 less), int8 becomes uint8 (128 more).
//#param b_flip: u32
@group(0) @binding(B) var<storage, read> b: array<u32>;
fn b_one(at: u32) -> u32 { return b[at] ^ p.b_flip; }
