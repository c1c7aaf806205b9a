//! Operand B in vec4 of f16 on adapters without f16: two a word.
@group(0) @binding(B) var<storage, read> b: array<vec2<u32>>;
fn b_vec(at: u32) -> vec4<f32> {
    let words = b[at];
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}
