//! For an int8 product with a B that is not constant: (sum over k of B, zero point of B, 0, bits of 1.0) of every column, as
//! int8. A thread sums four columns.
//! Set:   THREADS
//! Slots: k_blocks b_block  b_quad load_b44  zero_of
//#need THREADS
//#use grid
//#use gemm_size
//#use sums8
//#param quads: u32
//#param batches: u32
@group(0) @binding(SUMS) var<storage, read_write> sums: array<vec4<i32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let flat = flat_group(group, count) * THREADS + thread;
    let n4 = flat % p.quads;
    let z = flat / p.quads;
    if z >= p.batches { return; }
    let blocks = k_blocks(0u, 4u * n4, z);
    var sum = vec4<i32>();
    for (var block = blocks.x; block < blocks.y; block++) {
        let quad = b_quad(n4, block, z);
        for (var k4 = 0u; k4 < p.k4; k4++) { sum += sum_block(load_b44(quad, k4), k4); }
    }
    //#repeat i 4
    if 4u * n4 + $iu < p.n { sums[z * p.n + 4u * n4 + $iu] = vec4<i32>(sum[$i], zero_of(4u * n4 + $iu, z), 0, 0x3f800000); }
    //#end
}
