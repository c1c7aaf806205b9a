//! Where the taps of four output pixels of a transposed convolution lie in its input.
//! Slots: a_base
//#use conv_phase
//#param a_ld: u32
const A_ALONG_K = true;
/// Marks a row whose tap lies outside the input.
const OUTSIDE = 0xffffffffu;
alias AQuad = vec4<u32>;
/// Image and shifted coordinates (coordinate + pad) of four output pixels, and what does not change with the tap.
struct AStart { at: vec4<u32>, d: vec4<u32>, y: vec4<u32>, x: vec4<u32>, taps: Taps }

fn a_start(m4: u32, z: u32) -> AStart {
    let row = four_inside(m4, p.m);
    let phase = phase_of(z) + p.pad.xyz;
    var s: AStart;
    s.x = row % p.phase_size.z * p.stride.z + phase.z;
    let y = row / p.phase_size.z;
    s.y = y % p.phase_size.y * p.stride.y + phase.y;
    let d = y / p.phase_size.y;
    s.d = d % p.phase_size.x * p.stride.x + phase.x;
    s.at = a_base(z) + d / p.phase_size.x * (p.in_size.x * p.in_size.y * p.in_size.z * p.a_ld);
    s.taps = phase_taps(z);
    return s;
}

/// The elements at which the four input pixels begin. The divisions are exact: the phase takes no other taps.
fn a_quad(s: AStart, block: u32) -> AQuad {
    let tap = tap_of(block, s.taps) * p.dilation.xyz;
    let x = bitcast<vec4<i32>>(s.x - tap.z) / i32(p.stride.z);
    let y = bitcast<vec4<i32>>(s.y - tap.y) / i32(p.stride.y);
    let d = bitcast<vec4<i32>>(s.d - tap.x) / i32(p.stride.x);
    let size = vec4<i32>(p.in_size);
    let zero = vec4<i32>(0);
    let inside = (x >= zero) & (x < vec4<i32>(size.z)) & (y >= zero) & (y < vec4<i32>(size.y)) & (d >= zero) & (d < vec4<i32>(size.x));
    let pixel = vec4<u32>((d * size.y + y) * size.z + x);
    return select(vec4<u32>(OUTSIDE), s.at + pixel * p.a_ld, inside);
}
