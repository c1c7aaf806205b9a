//! A[pixel, kernel row, (x, channel)] of a convolution without dilation along x, with any number of channels: a kernel
//! row is one run of memory.
//! Slots: a_one  a_base  a_zero
//#use conv_window
const A_ALONG_K = true;
alias AStart = Window;
/// Where the runs begin, and their places in the rows of the input; both wrap below zero.
struct AQuad { at: vec4<u32>, x: vec4<u32> }
fn a_start(m4: u32, z: u32) -> AStart { return conv_window(m4, z); }
fn a_quad(w: AStart, row: u32) -> AQuad {
    let ky = row % p.kernel.y;
    let kd = row / p.kernel.y;
    // Past every row: a run outside is outside from end to end, because a run is shorter than half the numbers.
    let x = select(vec4<u32>(0x80000000u), w.x * p.a_ld, rows_inside(w, kd, ky));
    return AQuad(w.at + tap_offset(kd, ky, 0u), x);
}
fn a_at(q: AQuad, k: u32) -> vec4<Elem> {
    let inside = q.x + k < vec4<u32>(p.in_size.z * p.a_ld);
    let i = select(vec4<u32>(), q.at + k, inside);
    let v = select(vec4<Elem>(a_zero()), vec4<Elem>(a_one(i.x), a_one(i.y), a_one(i.z), a_one(i.w)), inside);
    return select(vec4<Elem>(), v, k < p.k);
}
fn load_a44(q: AQuad, k4: u32) -> Block44 {
    let k = 4u * k4;
    return Block44(a_at(q, k), a_at(q, k + 1u), a_at(q, k + 2u), a_at(q, k + 3u));
}
