//! A[pixel, tap, channel] of a transposed convolution with any number of channels.
//! Slots: a_one  a_base
//#use conv_phase
//#use deconv_quad
fn a_at(at: AQuad, k: u32) -> vec4<Elem> {
    let inside = (at != vec4<u32>(OUTSIDE)) & vec4<bool>(k < p.k);
    let i = select(vec4<u32>(), at + k, inside);
    return select(vec4<Elem>(), vec4<Elem>(a_one(i.x), a_one(i.y), a_one(i.z), a_one(i.w)), inside);
}
fn load_a44(at: AQuad, k4: u32) -> Block44 {
    let k = 4u * k4;
    return Block44(a_at(at, k), a_at(at, k + 1u), a_at(at, k + 2u), a_at(at, k + 3u));
}
