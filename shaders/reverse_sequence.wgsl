//! ReverseSequence: y[t, b, j] = a[length(b) - 1 - t, b, j] for t < lengths[b], else a[t, b, j]; with TIME_SECOND the first two axes
//! are b, t.
//! Set: THREADS  TIME_SECOND  Word (u32, f16 or four of them; inner is counted in them)
//#use grid
//#need THREADS
//#need TIME_SECOND
//#need Word
//#param count: u32
//#param first: u32
//#param second: u32
//#param inner: u32
@group(0) @binding(A) var<storage, read> a: array<Word>;
@group(0) @binding(LENGTHS) var<storage, read> lengths: array<i32>;
@group(0) @binding(Y) var<storage, read_write> y: array<Word>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let line = i / p.inner;
    let outer = line / p.second;
    let within = line - outer * p.second;
    let time = select(outer, within, TIME_SECOND);
    let limit = select(p.first, p.second, TIME_SECOND);
    let length = u32(clamp(lengths[select(within, outer, TIME_SECOND)], 0, i32(limit)));
    let step = select(p.second, 1u, TIME_SECOND) * p.inner;
    let mirrored = select(time, length - 1u - time, time < length);
    y[i] = a[i + (mirrored - time) * step];
}
