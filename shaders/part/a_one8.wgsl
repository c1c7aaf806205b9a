//! Operand A in words of four 8-bit integers. `a_flip` is 0x80808080 where their sign is
//! changed: uint8 becomes int8 (128 less), int8 becomes uint8 (128 more).
//#param a_flip: u32
@group(0) @binding(A) var<storage, read> a: array<u32>;
fn a_one(at: u32) -> u32 { return a[at] ^ p.a_flip; }
