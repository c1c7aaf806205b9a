//! Operand A in vec4 of words of four 8-bit integers. `a_flip` is 0x80808080 where their sign is
//! changed: uint8 becomes int8 (128 less), int8 becomes uint8 (128 more).
//#param a_flip: u32
@group(0) @binding(A) var<storage, read> a: array<vec4<u32>>;
fn a_vec(at: u32) -> vec4<u32> { return a[at] ^ vec4<u32>(p.a_flip); }
