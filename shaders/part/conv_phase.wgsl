//! Transposed convolution, output-centred: output pixel o takes tap k where (o + pad - k * dilation) is a multiple of the
//! stride, from input pixel (o + pad - k * dilation) / stride. Pixels whose coordinates agree modulo the stride (a "phase")
//! take the same taps, so a batch z is one phase (the fast part of z) of one group, a row one pixel of the phase, and a k
//! block one tap that the phase takes. Vectors of extents are (depth, height, width, 0).
//! Slots: a_base
//#use block44
//#use gemm_size
//#param in_size: vec4<u32>
//#param out_size: vec4<u32>
//#param kernel: vec4<u32>
//#param stride: vec4<u32>
//#param dilation: vec4<u32>
//#param pad: vec4<u32>
/// Pixels of a phase: out_size / stride, rounded up.
//#param phase_size: vec4<u32>
/// Taps from one that a phase takes to the next: stride / gcd(stride, dilation).
//#param tap_step: vec4<u32>
/// Columns of C that a group owns.
//#param group_cols: u32
const ONE_BLOCK = false;

fn phases() -> u32 { return p.stride.x * p.stride.y * p.stride.z; }

/// The coordinates of a phase's first pixel.
fn phase_of(z: u32) -> vec3<u32> {
    let at = z % phases();
    return vec3<u32>(at / (p.stride.y * p.stride.z), at / p.stride.z % p.stride.y, at % p.stride.z);
}

/// The first tap along an axis for a shifted coordinate `o` (= coordinate + pad), `taps` where there is none.
fn first_tap(o: u32, taps: u32, axis: u32) -> u32 {
    // o - k * dilation may fall below zero: a multiple of the stride above every tap's reach keeps it a number.
    let lift = taps * p.dilation[axis] * p.stride[axis];
    for (var k = 0u; k < min(taps, p.tap_step[axis]); k++) {
        if (o + lift - k * p.dilation[axis]) % p.stride[axis] == 0u { return k; }
    }
    return taps;
}

/// First tap and number of taps along each axis.
struct Taps { first: vec3<u32>, count: vec3<u32> }

fn phase_taps(z: u32) -> Taps {
    let o = phase_of(z) + p.pad.xyz;
    let first = vec3<u32>(first_tap(o.x, p.kernel.x, 0u), first_tap(o.y, p.kernel.y, 1u), first_tap(o.z, p.kernel.z, 2u));
    return Taps(first, (p.kernel.xyz - first + p.tap_step.xyz - 1u) / p.tap_step.xyz);
}

fn k_blocks(m0: u32, n0: u32, z: u32) -> vec2<u32> {
    let count = phase_taps(z).count;
    return vec2<u32>(0u, count.x * count.y * count.z);
}

/// The kernel position of a k block.
fn tap_of(block: u32, taps: Taps) -> vec3<u32> {
    let at = vec3<u32>(block / (taps.count.y * taps.count.z), block / taps.count.z % taps.count.y, block % taps.count.z);
    return taps.first + at * p.tap_step.xyz;
}

fn b_block(block: u32, z: u32) -> u32 {
    let tap = tap_of(block, phase_taps(z));
    return (tap.x * p.kernel.y + tap.y) * p.kernel.z + tap.z;
}

/// Image and coordinates (depth, height, width) of a row's output pixel; they may lie outside where the stride does not
/// divide the output.
fn phase_pixel(row: u32, z: u32) -> vec4<u32> {
    let x = row % p.phase_size.z;
    let y = row / p.phase_size.z;
    let d = y / p.phase_size.y;
    let at = vec3<u32>(d % p.phase_size.x, y % p.phase_size.y, x) * p.stride.xyz + phase_of(z);
    return vec4<u32>(d / p.phase_size.x, at);
}

fn c_row(row: u32, z: u32) -> u32 {
    let o = phase_pixel(row, z);
    let at = ((o.x * p.out_size.x + o.y) * p.out_size.y + o.z) * p.out_size.z + o.w;
    return select(NOWHERE, at, all(o.yzw < p.out_size.xyz));
}

fn c_col(z: u32) -> u32 { return z / phases() * p.group_cols; }
