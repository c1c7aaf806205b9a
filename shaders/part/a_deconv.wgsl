//! A[pixel, tap, channel] of a transposed convolution (also the data gradient of a convolution), in vec4.
//! Slots: a_vec  a_base
//#use conv_phase
//#use deconv_quad
fn a_at(at: u32, k4: u32) -> vec4<Elem> {
    let outside = at == OUTSIDE;
    return select(a_vec(select(at / 4u + k4, 0u, outside)), vec4<Elem>(), outside);
}
fn load_a44(at: AQuad, k4: u32) -> Block44 {
    return transpose44(a_at(at.x, k4), a_at(at.y, k4), a_at(at.z, k4), a_at(at.w, k4));
}
