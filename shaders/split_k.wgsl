//! Second pass of split-K: C[m, n] = store(sum of SUMS[batch, part, m, n] over the parts, in their order).
//! A thread adds 4 columns of one row; rows of SUMS are padded to multiples of 4.
//! Set:   THREADS
//! Slots: store4
//#use grid
//#use gemm_store
//#need THREADS
//#param batches: u32
//#param parts: u32
@group(0) @binding(SUMS) var<storage, read> sums: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let flat = flat_group(group, count) * THREADS + thread;
    let n4 = flat % p.n4;
    let row = flat / p.n4 % p.m;
    let z = flat / (p.n4 * p.m);
    if z >= p.batches { return; }
    let step = p.m * p.n4;
    var at = z * p.parts * step + row * p.n4 + n4;
    var sum = sums[at];
    for (var part = 1u; part < p.parts; part++) {
        at += step;
        sum += sums[at];
    }
    store4(row, n4, z, sum);
}
