//! Gather along an axis: y[o, k, j] = a[o, indices[k] - first, j] for o < outer, k < picks, j < inner. Of an axis of `size`
//! elements, a has `held`, from `first` on; what the others are picked for is left as it is.
//! Set: THREADS  Word (u32, f16 or four of them; inner is counted in them)
//#use grid
//#use resolve
//#need THREADS
//#need Word
//#param count: u32
//#param size: u32
//#param first: u32
//#param held: u32
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
    let at = resolve(indices[k], p.size) - p.first;   // below `first` it wraps
    if at < p.held { y[i] = a[(o * p.held + at) * p.inner + j]; }
}
