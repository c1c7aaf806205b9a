//! Planes side by side: y[n, pixel, channel] = a[n, channel, pixel], and 0 where a has no such channel. A thread writes four
//! channels of a pixel.
//! Set: THREADS  Unit (u32 or f16)
//#use grid
//#need THREADS
//#need Unit
/// Quads of y.
//#param count: u32
//#param pixels: u32
//#param channels: u32
/// Quads of a pixel.
//#param quads: u32
@group(0) @binding(A) var<storage, read> a: array<Unit>;
@group(0) @binding(Y) var<storage, read_write> y: array<vec4<Unit>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let at = i / p.quads;
    let first = 4u * (i % p.quads);
    let image = at / p.pixels;
    let begin = (image * p.channels + first) * p.pixels + at % p.pixels;
    var v: vec4<Unit>;
    //#repeat c 4
    if first + $cu < p.channels { v[$c] = a[begin + $cu * p.pixels]; }
    //#end
    y[i] = v;
}
