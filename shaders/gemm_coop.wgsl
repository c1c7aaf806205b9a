//! GEMM by cooperative matrices: C[m, n] = store(sum_k A[m, k] * B[k, n]), operands of f16, sums of f32.
//! SM x SN subgroups of LANES threads; each owns FM x FN fragments of EDGE x EDGE, and moves through k by 4 * BK4.
//! Set:   EDGE LANES SM SN FM FN  KF = 4 * BK4 / EDGE  BK4  STRIP (fragments stored at once)
//!        A_JOBS B_JOBS (blocks that a thread moves)  MatA MatB MatC (types)
//!        BY_K (rows in workgroup memory lie along k; otherwise as in memory)
//! Slots: is_past  k_blocks ONE_BLOCK k_steps  AStart AQuad a_start a_quad load_a44 A_ALONG_K  b_quad load_b44 B_ALONG_K  store4
//!        a_put b_put c_get (workgroup memory)  a_fragment b_fragment fragment_mac c_fragment
//#use gemm_grid
//#use block44
//#use gemm_store
const THREADS = LANES * SM * SN;
const A_BY_K = BY_K || A_ALONG_K;
const B_BY_K = BY_K || B_ALONG_K;
const BM4 = SM * FM * EDGE / 4u;
const BN4 = SN * FN * EDGE / 4u;
// Rows in workgroup memory are 16 bytes longer than they need be: then eight of them begin in different banks.
const A_LD4 = select(BM4, BK4, A_BY_K) + 2u;
const B_LD4 = select(BN4, BK4, B_BY_K) + 2u;
const A_SIZE4 = A_LD4 * select(4u * BK4, 4u * BM4, A_BY_K);
const B_SIZE4 = B_LD4 * select(4u * BK4, 4u * BN4, B_BY_K);
const C_LD4 = STRIP * EDGE / 4u + 1u;
const C_SIZE4 = EDGE * C_LD4;

/// What one thread moves: block `at` along m or n, block `k4` along k. Neighbours follow the axis along which memory is contiguous.
struct Job { at: u32, k4: u32 }

fn job_of(number: u32, width: u32, along_k: bool) -> Job {
    if along_k { return Job(number / BK4, number % BK4); }
    return Job(number % width, number / width);
}

/// One row or column of a block, across the fields.
fn across(v: Block44, i: u32) -> vec4<Elem> { return vec4<Elem>(v.k0[i], v.k1[i], v.k2[i], v.k3[i]); }

fn put_a(job: Job, v: Block44) {
    if A_BY_K {
        //#repeat r 4
        a_put((4u * job.at + $ru) * A_LD4 + job.k4, across(v, $ru));
        //#end
    } else {
        //#repeat k 4
        a_put((4u * job.k4 + $ku) * A_LD4 + job.at, v.k$k);
        //#end
    }
}

fn put_b(job: Job, v: Block44) {
    if B_BY_K {
        //#repeat r 4
        b_put((4u * job.at + $ru) * B_LD4 + job.k4, across(v, $ru));
        //#end
    } else {
        //#repeat k 4
        b_put((4u * job.k4 + $ku) * B_LD4 + job.at, v.k$k);
        //#end
    }
}

fn fetch_a(quad: AQuad, k4: u32, end: u32) -> Block44 {
    var block: Block44;
    if k4 < end { block = load_a44(quad, k4); }
    return block;
}

fn fetch_b(quad: vec4<u32>, k4: u32, end: u32) -> Block44 {
    var block: Block44;
    if k4 < end { block = load_b44(quad, k4); }
    return block;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let tile = gemm_tile(group, count);
    if is_past(tile.z) { return; }
    let m4 = tile.x * BM4;
    let n4 = tile.y * BN4;
    let sub = thread / LANES;
    // The first row and column of the subgroup in the tile.
    let sub_m = sub / SN * FM * EDGE;
    let sub_n = sub % SN * FN * EDGE;
    let blocks = k_blocks(4u * m4, 4u * n4, tile.z);
    let steps = k_steps(tile.z);
    //#repeat r FM
    //#repeat c FN
    var acc$r_$c = MatC();
    //#end
    //#end
    var block = blocks.x;   // the chunk that the registers hold
    var k4 = steps.x;
    //#repeat j A_JOBS
    let a_job$j = job_of(thread + $ju * THREADS, BM4, A_ALONG_K);
    let start$j = a_start(m4 + a_job$j.at, tile.z);
    var from_a$j = a_quad(start$j, block);
    var a_held$j = fetch_a(from_a$j, k4 + a_job$j.k4, steps.y);
    //#end
    //#repeat j B_JOBS
    let b_job$j = job_of(thread + $ju * THREADS, BN4, B_ALONG_K);
    var from_b$j = b_quad(n4 + b_job$j.at, block, tile.z);
    var b_held$j = fetch_b(from_b$j, k4 + b_job$j.k4, steps.y);
    //#end
    while block < blocks.y {
        //#repeat j A_JOBS
        put_a(a_job$j, a_held$j);
        //#end
        //#repeat j B_JOBS
        put_b(b_job$j, b_held$j);
        //#end
        workgroupBarrier();
        k4 += BK4;
        if k4 >= steps.y {
            k4 = steps.x;
            block++;
            if !ONE_BLOCK {
                //#repeat j A_JOBS
                from_a$j = a_quad(start$j, block);
                //#end
                //#repeat j B_JOBS
                from_b$j = b_quad(n4 + b_job$j.at, block, tile.z);
                //#end
            }
        }
        // The next chunk is on its way while this one is used.
        if block < blocks.y {
            //#repeat j A_JOBS
            a_held$j = fetch_a(from_a$j, k4 + a_job$j.k4, steps.y);
            //#end
            //#repeat j B_JOBS
            b_held$j = fetch_b(from_b$j, k4 + b_job$j.k4, steps.y);
            //#end
        }
        //#repeat q KF
        {
            //#repeat r FM
            let a$r = a_fragment(sub_m + $ru * EDGE, $qu * EDGE);
            //#end
            //#repeat c FN
            let b$c = b_fragment($qu * EDGE, sub_n + $cu * EDGE);
            //#end
            //#repeat r FM
            //#repeat c FN
            acc$r_$c = fragment_mac(a$r, b$c, acc$r_$c);
            //#end
            //#end
        }
        //#end
        workgroupBarrier();
    }
    // Elements of a fragment can only be reached through memory: each subgroup stores a strip of fragments and reads its rows.
    let lane = thread % LANES;
    for (var strip = 0u; strip < FM * FN / STRIP; strip++) {
        //#repeat r FM
        //#repeat c FN
        if strip == ($ru * FN + $cu) / STRIP {
            c_fragment(sub * C_SIZE4 + ($cu % STRIP) * EDGE / 4u, acc$r_$c);
        }
        //#end
        //#end
        workgroupBarrier();
        let row = 4u * m4 + sub_m + strip * STRIP / FN * EDGE;
        let col4 = n4 + (sub_n + strip * STRIP % FN * EDGE) / 4u;
        for (var i = lane; i < STRIP * EDGE * EDGE / 4u; i += LANES) {
            let y = i / (STRIP * EDGE / 4u);
            let x = i % (STRIP * EDGE / 4u);
            store4(row + y, col4 + x, tile.z, c_get(sub * C_SIZE4 + y * C_LD4 + x));
        }
        workgroupBarrier();
    }
}
