//! Gather along an axis: y[o, k, j] = a[o, indices[k], j] for o < outer, k < picks, j < inner.
//! Set: THREADS  Word (u32, f16 or four of them; inner is counted in them)
//#use grid
//#use resolve
//#need THREADS
//#need Word
//#param count: u32
//#param size: u32
//#param picks: u32
//#param inner: u32
@group(0) @binding(A) var<storage, read> a: array<Word>;
@group(0) @binding(INDICES) var<storage, read> indices: array<i32>;
@group(0) @binding(Y) var<storage, read_write> y: array<Word>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let slice = i / p.inner;
    let j = i - slice * p.inner;
    let o = slice / p.picks;
    let k = slice - o * p.picks;
    y[i] = a[(o * p.size + resolve(indices[k], p.size)) * p.inner + j];
}
