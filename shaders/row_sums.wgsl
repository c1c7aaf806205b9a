//! For an int8 product: (sum over k of A, zero point of A) of every row, as int8. A thread sums four rows.
//! Set:   THREADS
//! Slots: k_blocks  AStart AQuad a_start a_quad load_a44  zero_of
//#need THREADS
//#use grid
//#use gemm_size
//#use sums8
//#param quads: u32
//#param batches: u32
@group(0) @binding(SUMS) var<storage, read_write> sums: array<vec2<i32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let flat = flat_group(group, count) * THREADS + thread;
    let m4 = flat % p.quads;
    let z = flat / p.quads;
    if z >= p.batches { return; }
    let start = a_start(m4, z);
    let blocks = k_blocks(4u * m4, 0u, z);
    var sum = vec4<i32>();
    for (var block = blocks.x; block < blocks.y; block++) {
        let quad = a_quad(start, block);
        for (var k4 = 0u; k4 < p.k4; k4++) { sum += sum_block(load_a44(quad, k4), k4); }
    }
    //#repeat i 4
    if 4u * m4 + $iu < p.m { sums[z * p.m + 4u * m4 + $iu] = vec2<i32>(sum[$i], zero_of(4u * m4 + $iu, z)); }
    //#end
}
