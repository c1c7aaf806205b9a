//! The elements of the first k of sorted keys: values and indices [outer, k, inner] from x [outer, n, inner].
//! Set: THREADS  T
//#use grid
//#need THREADS
/// Elements taken.
//#param count: u32
//#param n: u32
//#param k: u32
//#param inner: u32
//#param bits: u32
@group(0) @binding(X) var<storage, read> x: array<T>;
@group(0) @binding(KEYS) var<storage, read> keys: array<vec2<u32>>;
@group(0) @binding(VALUES) var<storage, read_write> values: array<T>;
@group(0) @binding(INDICES) var<storage, read_write> indices: array<i32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at >= p.count { return; }
    let column = at % p.inner;
    let outer = at / p.inner / p.k;
    let index = keys[((outer * p.inner + column) << p.bits) + at / p.inner % p.k].y;
    values[at] = x[(outer * p.n + index) * p.inner + column];
    indices[at] = i32(index);
}
