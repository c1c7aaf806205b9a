//! Interpolation along two neighbouring axes at once:
//! y[o, h, w, i] = sum_a wh[h, a] * sum_b ww[w, b] * x[o, ih[h, a], iw[w, b], i], with i fastest.
//! The taps (index and weight) of every place of both axes lie in a table, so one text serves every mode.
//! Set:   THREADS; Elem (f32 or u32, or a vec4 of it along i); From, To (Elem as x and y lie: f16 for f32 too)
//!        KH KW (taps a place, 0 where p.taps_h and p.taps_w say it)
//! Slots: resized
//#use grid
//#need THREADS
//#need KH
//#need KW
//#need From To
//#param count: u32
//#param inner: u32
//#param in_h: u32
//#param in_w: u32
//#param out_h: u32
//#param out_w: u32
//#param taps_h: u32
//#param taps_w: u32
/// The value of taps without element.
//#param outside: f32
@group(0) @binding(X) var<storage, read> x: array<From>;
/// Index (of no element: the largest number) and bits of the weight: those of all h, then those of all w.
@group(0) @binding(TAPS) var<storage, read> taps: array<vec2<u32>>;
@group(0) @binding(Y) var<storage, read_write> y: array<To>;

const NOTHING = 0xffffffffu;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at >= p.count { return; }
    let i = at % p.inner;
    let pixel = at / p.inner;
    let ow = pixel % p.out_w;
    let row = pixel / p.out_w;
    let oh = row % p.out_h;
    let plane = row / p.out_h * p.in_h;
    let kh = select(KH, p.taps_h, KH == 0u);
    let kw = select(KW, p.taps_w, KW == 0u);
    let first_h = oh * kh;
    let first_w = p.out_h * kh + ow * kw;
    y[at] = To(resized(plane, first_h, kh, first_w, kw, i));
}
