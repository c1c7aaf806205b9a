//! Register GEMM for software adapters: C[m, n] = store(sum_k A[m, k] * B[k, n]).
//! One subgroup is a workgroup. A lane owns CQ adjacent blocks of 4 columns and all R rows; A reaches the other lanes by broadcast.
//! Loads there cost the same from workgroup and from storage memory, so only reuse in registers helps.
//! Set:   LANES (the subgroup size)  QUADS (of rows)  LOADERS (lanes that load them)  RQ = QUADS / LOADERS  R = 4 * QUADS  CQ
//!        ROLL_K ROLL_STORE  Acc
//! Slots: is_past  k_blocks ONE_BLOCK k_steps  AStart AQuad a_start a_quad load_a44 load_a  b_quad load_b
//!        Spread spread mac  tile_put tile_get  store_row
//#use gemm_grid
//#use block44
//#use place
//#use own

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let at = gemm_tile(group, count);
    if is_past(at.z) { return; }
    let m4 = at.x * QUADS;
    let n4 = (at.y * LANES + lane) * CQ;
    var acc: array<vec4<Acc>, R * CQ>;
    //#repeat i RQ
    let start$i = a_start(m4 + $iu * LOADERS + lane, at.z);
    //#end
    let blocks = k_blocks(4u * m4, 4u * at.y * CQ * LANES, at.z);
    let steps = k_steps(at.z);
    for (var block = blocks.x; block < blocks.y; block++) {
        //#repeat i RQ
        let quad$i = a_quad(start$i, block);
        //#end
        let quads = array<vec4<u32>, CQ>(
            //#repeat c CQ
            b_quad(n4 + $cu, block, at.z),
            //#end
        );
        for (var k4 = steps.x; k4 < steps.y; k4++) {
            // Every load stands before the arithmetic; the other order costs 15 to 30%.
            //#repeat i RQ
            let a$i = load_a(quad$i, k4, lane);
            //#end
            let b = load_b(quads, k4);
            if ROLL_K {           // where a body of all four k would not fit the instruction cache
                for (var k = 0u; k < 4u; k++) {
                    //#repeat i RQ
                    let one_a$i = pick44(a$i, k);
                    //#end
                    //#repeat c CQ
                    let one_b$c = pick44(b.c$c, k);
                    //#repeat i RQ
                    //#repeat l LOADERS
                    //#repeat j 4
                    {
                        let at = (4u * ($iu * LOADERS + $lu) + $ju) * CQ + $cu;
                        acc[at] = mac(acc[at], subgroupBroadcast(spread(one_a$i[$j]), $lu), one_b$c);
                    }
                    //#end
                    //#end
                    //#end
                    //#end
                }
            } else {
                // One block of columns after the other: its B stays in registers, and the body is short enough for the processor's
                // caches of instructions (docs/kernels.md).
                //#repeat c CQ
                //#repeat i RQ
                //#repeat l LOADERS
                //#repeat j 4
                {
                    var sum = acc[(4u * ($iu * LOADERS + $lu) + $ju) * CQ + $cu];
                    //#repeat k 4
                    sum = mac(sum, subgroupBroadcast(spread(a$i.k$k[$j]), $lu), b.c$c.k$k);
                    //#end
                    acc[(4u * ($iu * LOADERS + $lu) + $ju) * CQ + $cu] = sum;
                }
                //#end
                //#end
                //#end
                //#end
            }
        }
        if ONE_BLOCK { break; }   // lets drivers drop the block loop (5% on Mesa 22)
    }
    let own = array<Own, CQ>(
        //#repeat c CQ
        own_columns(c_col(at.z) + 4u * min(n4 + $cu, p.n4 - 1u), at.z),
        //#end
    );
    if ROLL_STORE {               // a long epilogue is compiled once, not R times
        //#repeat r R
        tile_put($ru, lane, array<vec4<Acc>, CQ>(
            //#repeat c CQ
            acc[$ru * CQ + $cu],
            //#end
        ));
        //#end
        let count = min(R, p.m - 4u * m4);
        for (var r = 0u; r < count; r++) { store_row(4u * m4 + r, n4, at.z, tile_get(r, lane), own); }
    } else {
        //#repeat r R
        store_row(4u * m4 + $ru, n4, at.z, array<vec4<Acc>, CQ>(
            //#repeat c CQ
            acc[$ru * CQ + $cu],
            //#end
        ), own);
        //#end
    }
}
