//! Register GEMM for software adapters: C[m, n] = store(sum_k A[m, k] * B[k, n]).
//! One subgroup is a workgroup. A lane owns 4 columns and all R rows; A reaches the other lanes by broadcast.
//! Loads there cost the same from workgroup and from storage memory, so only reuse in registers helps.
//! Set:   LANES (the subgroup size)  RQ (row quads a lane loads)  R = 4 * LANES * RQ  ROLL_STORE  Acc
//! Slots: k_blocks ONE_BLOCK  AStart AQuad a_start a_quad load_a44  b_quad load_b44  mac  store4
//#use gemm_grid
//#use block44
//#use gemm_store
var<workgroup> tile: array<vec4<Acc>, select(1u, R * LANES, ROLL_STORE)>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = gemm_tile(group, count);
    let m4 = at.x * RQ * LANES;
    let n4 = at.y * LANES + lane;
    var acc: array<vec4<Acc>, R>;
    //#repeat i RQ
    let start$i = a_start(m4 + $iu * LANES + lane, at.z);
    //#end
    let blocks = k_blocks(4u * m4, 4u * at.y * LANES, at.z);
    let steps = p.k4;
    for (var block = blocks.x; block < blocks.y; block++) {
        //#repeat i RQ
        let quad$i = a_quad(start$i, block);
        //#end
        let quad = b_quad(n4, block, at.z);
        for (var k4 = 0u; k4 < steps; k4++) {
            // Every load stands before the arithmetic; the other order costs 15 to 30%.
            //#repeat i RQ
            let a$i = load_a44(quad$i, k4);
            //#end
            let b = load_b44(quad, k4);
            //#repeat i RQ
            //#repeat l LANES
            //#repeat j 4
            //#repeat k 4
            acc[4u * ($iu * LANES + $lu) + $ju] = mac(acc[4u * ($iu * LANES + $lu) + $ju], subgroupBroadcast(a$i.k$k[$j], $lu), b.k$k);
            //#end
            //#end
            //#end
            //#end
        }
        if ONE_BLOCK { break; }   // lets drivers drop the block loop (5% on Mesa 22)
    }
    if ROLL_STORE {               // a long epilogue is compiled once, not R times
        //#repeat r R
        tile[$ru * LANES + lane] = acc[$r];
        //#end
        let rows = min(R, p.m - 4u * m4);
        for (var r = 0u; r < rows; r++) { store4(4u * m4 + r, n4, at.z, tile[r * LANES + lane]); }
    } else {
        //#repeat r R
        store4(4u * m4 + $ru, n4, at.z, acc[$r]);
        //#end
    }
}
