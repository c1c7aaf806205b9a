//! Operand B in single elements of f16 on adapters without f16: two a word.
@group(0) @binding(B) var<storage, read> b: array<u32>;
fn b_one(at: u32) -> f32 { return unpack2x16float(b[at / 2u])[at % 2u]; }
