//! A[pixel, kernel row, (x, channel)] of a convolution without dilation along x, in vec4. In NHWC a kernel row is one
//! run of memory, so a k block is long even where channels are few, and one comparison finds the padding.
//! Slots: a_vec  a_base  a_zero
//#use conv_window
const A_ALONG_K = true;
alias AStart = Window;
/// Where the runs begin, and their places in the rows of the input; both in vec4, both wrap below zero.
struct AQuad { at: vec4<u32>, x: vec4<u32> }
fn a_start(m4: u32, z: u32) -> AStart { return conv_window(m4, z); }
fn a_quad(w: AStart, row: u32) -> AQuad {
    let ky = row % p.kernel.y;
    let kd = row / p.kernel.y;
    // Past every row: a run outside is outside from end to end, because a run is shorter than half the numbers.
    let x = select(vec4<u32>(0x80000000u), w.x * (p.a_ld / 4u), rows_inside(w, kd, ky));
    // A signed division: begins may lie below zero. (Bindings hold less than 2^31 elements.)
    let at = bitcast<vec4<i32>>(w.at + tap_offset(kd, ky, 0u)) >> vec4<u32>(2u);
    return AQuad(bitcast<vec4<u32>>(at), x);
}
fn a_at(at: u32, x: u32, k4: u32) -> vec4<Elem> {
    let inside = x + k4 < p.in_size.z * (p.a_ld / 4u);
    return select(vec4<Elem>(a_zero()), a_vec(select(0u, at + k4, inside)), inside);
}
fn load_a44(q: AQuad, k4: u32) -> Block44 {
    return transpose44(a_at(q.at.x, q.x.x, k4), a_at(q.at.y, q.x.y, k4), a_at(q.at.z, q.x.z, k4), a_at(q.at.w, q.x.w, k4));
}
