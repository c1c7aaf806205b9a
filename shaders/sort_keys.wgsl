//! Keys to sort the rows of x [outer, n, inner] by: (order, index) of each element, in rows of 2^bits keys. What a row has
//! too many sorts behind all elements.
//! Set: THREADS  SMALLEST (smallest first)  T, Acc = Out = i32, MIN = false  Slots: order (one element at a time)
//#use grid
//#need THREADS SMALLEST
/// Keys.
//#param count: u32
//#param n: u32
//#param inner: u32
//#param bits: u32
@group(0) @binding(X) var<storage, read> x: array<L>;
@group(0) @binding(KEYS) var<storage, read_write> keys: array<vec2<u32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at >= p.count { return; }
    let row = at >> p.bits;
    let k = at & ((1u << p.bits) - 1u);
    var key = vec2<u32>(0x80000000u, 0xffffffffu);
    if k < p.n {
        var place = order(x[(row / p.inner * p.n + k) * p.inner + row % p.inner]);
        if SMALLEST { place = ~place; }
        key = vec2<u32>(bitcast<u32>(place), k);
    }
    keys[at] = key;
}
