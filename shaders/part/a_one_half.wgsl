//! Operand A in single elements of f16 on adapters without f16: two a word.
@group(0) @binding(A) var<storage, read> a: array<u32>;
fn a_one(at: u32) -> f32 { return unpack2x16float(a[at / 2u])[at % 2u]; }
