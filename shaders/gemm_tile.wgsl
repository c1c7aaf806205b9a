//! Workgroup-tile GEMM for GPUs and browsers: C[m, n] = store(sum_k A[m, k] * B[k, n]). No subgroup operations.
//! 4 * BM4 x 4 * BN4 a workgroup, 4 * BK4 along k at a time; a thread owns TM4 x TN4 blocks of 4 x 4, TY and TX blocks apart.
//! Set:   BM4 BN4 BK4 (powers of 2)  TM4 TN4  TX = BN4 / TN4  TY = BM4 / TM4 (both at least 2 * BK4)  SIDES (2: double-buffered)
//!        JOBS = (BM4 + BN4) * BK4 / (TX * TY), rounded up  Acc
//! Slots: is_past  k_blocks ONE_BLOCK k_steps  AStart AQuad a_start a_quad load_a44 A_ALONG_K  b_quad load_b44 B_ALONG_K  Spread spread mac  store4
//#use gemm_grid
//#use block44
//#use gemm_store
const THREADS = TX * TY;
const A_JOBS = BM4 * BK4;
const ALL_JOBS = (BM4 + BN4) * BK4;
const A_SIDE = 4u * BK4 * BM4;
const B_SIDE = 4u * BK4 * BN4;
var<workgroup> a_tile: array<vec4<Elem>, SIDES * A_SIDE>;   // k-major
var<workgroup> b_tile: array<vec4<Elem>, SIDES * B_SIDE>;

/// What one thread moves: block `at` along m or n, block `k4` along k, of A or B.
struct Job { is_a: bool, is_b: bool, at: u32, k4: u32 }

/// The first A_JOBS jobs are A's, the others B's. Neighbours follow the axis along which the operand is contiguous.
fn job_of(number: u32) -> Job {
    let is_a = number < A_JOBS;
    let i = select(number - A_JOBS, number, is_a);
    let width = select(BN4, BM4, is_a);
    let along_k = select(B_ALONG_K, A_ALONG_K, is_a);
    return Job(is_a, !is_a && number < ALL_JOBS, select(i % width, i / BK4, along_k), select(i / width, i % BK4, along_k));
}

fn fetch(job: Job, a: AQuad, b: vec4<u32>, k4: u32, end: u32) -> Block44 {
    var block: Block44;
    if k4 + job.k4 < end {
        if job.is_a { block = load_a44(a, k4 + job.k4); } else if job.is_b { block = load_b44(b, k4 + job.k4); }
    }
    return block;
}

/// Threads that write along k would meet in the same banks: the columns of different k are exchanged by XOR.
fn mix(k4: u32, along_k: bool) -> u32 { return select(0u, 2u * k4, along_k); }

fn put(job: Job, side: u32, v: Block44) {
    if job.is_a {
        let to = side * A_SIDE + 4u * job.k4 * BM4 + (job.at ^ mix(job.k4, A_ALONG_K));
        a_tile[to] = v.k0; a_tile[to + BM4] = v.k1; a_tile[to + 2u * BM4] = v.k2; a_tile[to + 3u * BM4] = v.k3;
    } else if job.is_b {
        let to = side * B_SIDE + 4u * job.k4 * BN4 + (job.at ^ mix(job.k4, B_ALONG_K));
        b_tile[to] = v.k0; b_tile[to + BN4] = v.k1; b_tile[to + 2u * BN4] = v.k2; b_tile[to + 3u * BN4] = v.k3;
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let tile = gemm_tile(group, count);
    if is_past(tile.z) { return; }
    let m4 = tile.x * BM4;
    let n4 = tile.y * BN4;
    let tx = thread % TX;
    let ty = thread / TX;
    let blocks = k_blocks(4u * m4, 4u * n4, tile.z);
    let steps = k_steps(tile.z);
    var acc: array<vec4<Acc>, 4u * TM4 * TN4>;
    var block = blocks.x;   // the chunk that the registers hold
    var k4 = steps.x;
    var side = 0u;
    //#repeat j JOBS
    let job$j = job_of(thread + $ju * THREADS);
    var start$j: AStart;
    var from_a$j: AQuad;
    var from_b$j: vec4<u32>;
    var held$j: Block44;
    if job$j.is_a { start$j = a_start(m4 + job$j.at, tile.z); }
    if ONE_BLOCK || block < blocks.y {
        if job$j.is_a { from_a$j = a_quad(start$j, block); } else { from_b$j = b_quad(n4 + job$j.at, block, tile.z); }
        held$j = fetch(job$j, from_a$j, from_b$j, steps.x, steps.y);
    }
    //#end
    while block < blocks.y {
        //#repeat j JOBS
        put(job$j, side, held$j);
        //#end
        workgroupBarrier();
        k4 += BK4;
        if k4 >= steps.y {
            k4 = steps.x;
            block++;
            if !ONE_BLOCK && block < blocks.y {
                //#repeat j JOBS
                if job$j.is_a { from_a$j = a_quad(start$j, block); } else { from_b$j = b_quad(n4 + job$j.at, block, tile.z); }
                //#end
            }
        }
        // The next chunk is on its way while this one is used.
        if block < blocks.y {
            //#repeat j JOBS
            held$j = fetch(job$j, from_a$j, from_b$j, k4, steps.y);
            //#end
        }
        for (var q = 0u; q < BK4; q++) {
            let a_at = side * A_SIDE + 4u * q * BM4 + (ty ^ mix(q, A_ALONG_K));
            let b_at = side * B_SIDE + 4u * q * BN4 + (tx ^ mix(q, B_ALONG_K));
            //#repeat k 4
            {
                //#repeat c TN4
                let b$c = b_tile[b_at + $ku * BN4 + $cu * TX];
                //#end
                //#repeat r TM4
                let a$r = a_tile[a_at + $ku * BM4 + $ru * TY];
                //#repeat c TN4
                //#repeat i 4
                acc[($ru * 4u + $iu) * TN4 + $cu] = mac(acc[($ru * 4u + $iu) * TN4 + $cu], spread(a$r[$i]), b$c);
                //#end
                //#end
                //#end
            }
            //#end
        }
        if SIDES == 2u { side = 1u - side; } else { workgroupBarrier(); }
    }
    //#repeat r TM4
    //#repeat i 4
    //#repeat c TN4
    store4((m4 + ty + $ru * TY) * 4u + $iu, n4 + tx + $cu * TX, tile.z, acc[($ru * 4u + $iu) * TN4 + $cu]);
    //#end
    //#end
    //#end
}
