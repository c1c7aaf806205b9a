//! Linear quantisation and its inverse, element by element:
//! quantise   y = clamp(round(x / scale) + zero, low, high), rounding ties to even
//! dequantise y = (x - zero) * scale
//! Set:   THREADS; QUANTISE (else dequantise); HALF (the quotient is rounded to f16)
//!        GRAIN (which scale: 0 the only one, 1 by the index along an axis, 2 by the block along an axis)
//!        In, Out (f32, i32, u32)
//! Slots: zero_of
//#use grid
//#use math
//#need THREADS
//#need GRAIN
//#need QUANTISE
//#need HALF
//#param count: u32
/// Elements along the axis, elements from one index to the next, elements of a block, number of blocks.
//#param size: u32
//#param inner: u32
//#param block: u32
//#param blocks: u32
//#param low: f32
//#param high: f32
@group(0) @binding(X) var<storage, read> x: array<In>;
@group(0) @binding(SCALE) var<storage, read> scale: array<f32>;
@group(0) @binding(Y) var<storage, read_write> y: array<Out>;

fn scale_index(i: u32) -> u32 {
    if GRAIN == 0u { return 0u; }
    let at = i / p.inner % p.size;
    if GRAIN == 1u { return at; }
    return (i / p.inner / p.size * p.blocks + at / p.block) * p.inner + i % p.inner;
}

fn quotient(v: f32, by: f32) -> f32 {
    if HALF { return round_f16(vec4f(clamp(v / by, -65504.0, 65504.0))).x; }
    return v / by;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let s = scale_index(i);
    let v = x[i];
    if QUANTISE {
        let q = round(quotient(f32(v), scale[s])) + f32(zero_of(s));
        y[i] = Out(clamp(q, p.low, p.high));
    } else {
        // Whole numbers of 32 bits are subtracted before they become floats.
        y[i] = Out(f32(i32(v) - zero_of(s)) * scale[s]);
    }
}
