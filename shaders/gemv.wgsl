//! GEMM of few rows (matrix times vector): C[m, n] = store(sum_k A[m, k] * B[k, n]) for MR rows a workgroup.
//! Every element of B is used once for all rows, so memory bounds it: TK threads share the k axis of one column block,
//! then add their sums in a fixed order.
//! Set:   MR (rows: 1, 2, 4 or 8; below 4 only for one tile of rows)  MQ = MR / 4, rounded up  TX (blocks of 4 columns)  TK  Acc
//! Slots: is_past  k_blocks ONE_BLOCK k_steps  AStart AQuad a_start a_quad load_a44  b_quad load_b44 B_ALONG_K  Spread spread mac  store4
//#use gemm_grid
//#use block44
//#use gemm_store
const THREADS = TX * TK;
var<workgroup> sums: array<vec4<Acc>, MR * THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let tile = gemm_tile(group, count);
    if is_past(tile.z) { return; }
    // Neighbours read along the axis in which B is contiguous.
    let tx = select(thread % TX, thread / TK, B_ALONG_K);
    let tk = select(thread / TX, thread % TK, B_ALONG_K);
    let n4 = tile.y * TX + tx;
    var acc: array<vec4<Acc>, 4u * MQ>;
    //#repeat q MQ
    let start$q = a_start(tile.x * MQ + $qu, tile.z);
    //#end
    let blocks = k_blocks(tile.x * MR, 4u * tile.y * TX, tile.z);
    let steps = k_steps(tile.z);
    for (var block = blocks.x; block < blocks.y; block++) {
        let quad = b_quad(n4, block, tile.z);
        //#repeat q MQ
        let quad$q = a_quad(start$q, block);
        //#end
        for (var k4 = steps.x + tk; k4 < steps.y; k4 += TK) {
            let b = load_b44(quad, k4);
            //#repeat q MQ
            let a$q = load_a44(quad$q, k4);
            //#end
            //#repeat q MQ
            //#repeat r 4
            if 4u * $qu + $ru < MR {
                //#repeat k 4
                acc[4u * $qu + $ru] = mac(acc[4u * $qu + $ru], spread(a$q.k$k[$r]), b.k$k);
                //#end
            }
            //#end
            //#end
        }
        if ONE_BLOCK { break; }
    }
    //#repeat r MR
    sums[$ru * THREADS + tk * TX + tx] = acc[$r];
    //#end
    workgroupBarrier();
    for (var o = thread; o < MR * TX; o += THREADS) {
        let row = o / TX;
        let col = o % TX;
        var sum = sums[row * THREADS + col];
        for (var t = 1u; t < TK; t++) { sum += sums[row * THREADS + t * TX + col]; }
        store4(tile.x * MR + row, tile.y * TX + col, tile.z, sum);
    }
}
