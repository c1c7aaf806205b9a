//! A[pixel, tap, channel] of a convolution with any number of channels; a k block is one kernel position.
//! Slots: a_one  a_base  a_zero
//#use conv_window
const A_ALONG_K = true;
const OUTSIDE = 0xffffffffu;
alias AStart = Window;
alias AQuad = vec4<u32>;
fn a_start(m4: u32, z: u32) -> AStart { return conv_window(m4, z); }
fn a_quad(w: AStart, tap: u32) -> AQuad {
    let kx = tap % p.kernel.z;
    let ky = tap / p.kernel.z % p.kernel.y;
    let kd = tap / (p.kernel.z * p.kernel.y);
    let inside = rows_inside(w, kd, ky) & (w.x + kx * p.dilation.z < vec4<u32>(p.in_size.z));
    return select(vec4<u32>(OUTSIDE), w.at + tap_offset(kd, ky, kx), inside);
}
fn a_at(at: AQuad, k: u32) -> vec4<Elem> {
    let inside = at != vec4<u32>(OUTSIDE);
    let i = select(vec4<u32>(), at + min(k, p.k - 1u), inside);
    let v = select(vec4<Elem>(a_zero()), vec4<Elem>(a_one(i.x), a_one(i.y), a_one(i.z), a_one(i.w)), inside);
    return select(vec4<Elem>(), v, k < p.k);
}
fn load_a44(at: AQuad, k4: u32) -> Block44 {
    let k = 4u * k4;
    return Block44(a_at(at, k), a_at(at, k + 1u), a_at(at, k + 2u), a_at(at, k + 3u));
}
