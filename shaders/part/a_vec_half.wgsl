//! Operand A in vec4 of f16 on adapters without f16: two a word.
@group(0) @binding(A) var<storage, read> a: array<vec2<u32>>;
fn a_vec(at: u32) -> vec4<f32> {
    let words = a[at];
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}
