//! Operand A in vec4 of f32, read as words of 64 bits: lavapipe loads words one by one, whatever their size.
//! Set: Elem = f32
@group(0) @binding(A) var<storage, read> a: array<vec2<u64>>;
fn a_vec(at: u32) -> vec4<Elem> {
    let pair = a[at];
    return bitcast<vec4<f32>>(vec4<u32>(u32(pair.x), u32(pair.x >> 32u), u32(pair.y), u32(pair.y >> 32u)));
}
