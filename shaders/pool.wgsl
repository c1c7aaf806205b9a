//! Pooling: y[o, window, i] = reduce over taps of x[o, window * stride + tap * dilation - pad, i], with i fastest.
//! With BOXED a dispatch takes only the taps in a box of each window, and results go on from y.
//! Channels first: o counts images times channels, i is one. Channels last: o counts images, i channels, in vec4 where
//! their number allows. Vectors of extents are (depth, height, width, i); leading axes of lower ranks have extent 1.
//! Set:   THREADS; BOXED; PAD_COUNTS (padding counts as elements of value 0); Scalar (f32, i32, u32)
//!        Elem, Index (Scalar and u32, or vec4 of them); From, To (Elem as x and y lie: f16 for f32 too)
//! Slots: pool (takes one element)  pooled (of a window)  kept_index keep_index store_index (the offset of a maximum, or nothing)
//#use grid
//#need THREADS
//#need PAD_COUNTS BOXED From To
//#param in_size: vec4<u32>
//#param out_size: vec4<u32>
//#param kernel: vec4<u32>
//#param stride: vec4<u32>
//#param dilation: vec4<u32>
//#param pad: vec4<u32>
/// Extents of the input with the padding on both sides.
//#param padded: vec4<u32>
/// The box of taps: its first, and behind its last; whether boxes came before and whether some follow.
//#param box_begin: vec4<u32>
//#param box_end: vec4<u32>
//#param box_later: u32
//#param box_earlier: u32
/// Elems of the output.
//#param count: u32
/// The bits of the value to start from.
//#param lowest: u32
@group(0) @binding(X) var<storage, read> x: array<From>;
@group(0) @binding(Y) var<storage, read_write> y: array<To>;

/// The taps of the window at `start` that lie on 0..size.
fn taps(start: u32, pad: u32, size: u32, step: u32, kernel: u32) -> vec2<u32> {
    let before = select(0u, pad - start, start < pad);
    let left = select(0u, size + pad - start, start < size + pad);
    let end = min((left + step - 1u) / step, kernel);
    return vec2<u32>(min((before + step - 1u) / step, end), end);
}

fn included(start: u32, padded: u32, step: u32, kernel: u32) -> u32 {
    let left = select(0u, padded - start, start < padded);
    return min((left + step - 1u) / step, kernel);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at >= p.count { return; }
    let i = at % p.out_size.w;
    let window = at / p.out_size.w;
    let ow = window % p.out_size.z * p.stride.z;
    let oh = window / p.out_size.z % p.out_size.y * p.stride.y;
    let plane = window / (p.out_size.z * p.out_size.y);
    let od = plane % p.out_size.x * p.stride.x;
    let outer = plane / p.out_size.x;
    let td = taps(od, p.pad.x, p.in_size.x, p.dilation.x, p.kernel.x);
    let th = taps(oh, p.pad.y, p.in_size.y, p.dilation.y, p.kernel.y);
    let tw = taps(ow, p.pad.z, p.in_size.z, p.dilation.z, p.kernel.z);
    var result = Elem(bitcast<Scalar>(p.lowest));
    let steps = p.dilation;
    // Offsets in one plane; the first tap stands in where nothing is larger than the lowest value.
    let first = ((od + td.x * steps.x - p.pad.x) * p.in_size.y + oh + th.x * steps.y - p.pad.y) * p.in_size.z
        + ow + tw.x * steps.z - p.pad.z;
    let taken = td.x < td.y && th.x < th.y && tw.x < tw.y;
    var best = Index(select(0u, first, taken));
    if BOXED && p.box_later != 0u {
        result = Elem(y[at]);
        best = kept_index(at);
    }
    var begin = vec3<u32>(td.x, th.x, tw.x);
    var end = vec3<u32>(td.y, th.y, tw.y);
    if BOXED {
        begin = max(begin, p.box_begin.xyz);
        end = min(end, p.box_end.xyz);
    }
    for (var d = begin.x; d < end.x; d++) {
        let in_d = od + d * steps.x - p.pad.x;
        for (var h = begin.y; h < end.y; h++) {
            let row = (in_d * p.in_size.y + oh + h * steps.y - p.pad.y) * p.in_size.z;
            for (var w = begin.z; w < end.z; w++) {
                let offset = row + ow + w * steps.z - p.pad.z;
                let v = Elem(x[(outer * p.in_size.x * p.in_size.y * p.in_size.z + offset) * p.in_size.w + i]);
                pool(&result, &best, v, offset);
            }
        }
    }
    if BOXED && p.box_earlier != 0u {
        y[at] = To(result);
        keep_index(at, best);
        return;
    }
    let covered = (td.y - td.x) * (th.y - th.x) * (tw.y - tw.x);
    let counted = included(od, p.padded.x, steps.x, p.kernel.x) * included(oh, p.padded.y, steps.y, p.kernel.y)
        * included(ow, p.padded.z, steps.z, p.kernel.z);
    y[at] = To(pooled(result, max(select(covered, counted, PAD_COUNTS), 1u)));
    store_index(at, outer, i, best);
}
