//! For an int8 product: sum over k and zero point of every line, a row of A or a column of B, as int8. A thread sums four lines.
//! Set:   THREADS
//! Slots: lines LineStart LineQuad LineInfo line_blocks line_start line_quad load_line44 line_info  zero_of
//#need THREADS
//#use grid
//#use gemm_size
//#use sums8
//#param quads: u32
//#param batches: u32
@group(0) @binding(SUMS) var<storage, read_write> sums: array<LineInfo>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let flat = flat_group(group, count) * THREADS + thread;
    let at = flat % p.quads;
    let z = flat / p.quads;
    if z >= p.batches { return; }
    let start = line_start(at, z);
    let blocks = line_blocks(at, z);
    var sum = vec4<i32>();
    for (var block = blocks.x; block < blocks.y; block++) {
        let quad = line_quad(start, block, z);
        for (var k4 = 0u; k4 < p.k4; k4++) { sum += sum_block(load_line44(quad, k4), k4); }
    }
    //#repeat i 4
    if 4u * at + $iu < lines() { sums[z * lines() + 4u * at + $iu] = line_info(sum[$i], zero_of(4u * at + $iu, z)); }
    //#end
}
