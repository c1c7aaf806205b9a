//! A[pixel, tap, channel] of a convolution, in vec4; a k block is one kernel position. Padding reads as `a_zero`.
//! Slots: a_vec  a_base  a_zero
//#use conv_window
const A_ALONG_K = true;
/// Marks a row whose tap lies in the padding.
const OUTSIDE = 0xffffffffu;
alias AStart = Window;
alias AQuad = vec4<u32>;
fn a_start(m4: u32, z: u32) -> AStart { return conv_window(m4, z); }
fn a_quad(w: AStart, tap: u32) -> AQuad {
    let kx = tap % p.kernel.z;
    let ky = tap / p.kernel.z % p.kernel.y;
    let kd = tap / (p.kernel.z * p.kernel.y);
    let inside = rows_inside(w, kd, ky) & (w.x + kx * p.dilation.z < vec4<u32>(p.in_size.z));
    return select(vec4<u32>(OUTSIDE), (w.at + tap_offset(kd, ky, kx)) / 4u, inside);
}
fn a_at(at: u32, k4: u32) -> vec4<Elem> {
    let outside = at == OUTSIDE;
    return select(a_vec(select(at + k4, 0u, outside)), vec4<Elem>(a_zero()), outside);
}
fn load_a44(at: AQuad, k4: u32) -> Block44 {
    return transpose44(a_at(at.x, k4), a_at(at.y, k4), a_at(at.z, k4), a_at(at.w, k4));
}
