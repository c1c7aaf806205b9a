//! `gemm_tile` for one case, written by hand without slots or uniforms: A and B in rows, every size a constant.
//! Set: SIZE BM4 BN4 BK4 TM4 TN4 TX TY JOBS SIDES, as for `gemm_tile`
//#need SIZE
@group(0) @binding(A) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(B) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(C) var<storage, read_write> c: array<vec4<f32>>;
const K4 = SIZE / 4u;
const THREADS = TX * TY;
const A_JOBS = BM4 * BK4;
const A_SIDE = 4u * BK4 * BM4;
const B_SIDE = 4u * BK4 * BN4;
var<workgroup> a_tile: array<vec4<f32>, SIDES * A_SIDE>;
var<workgroup> b_tile: array<vec4<f32>, SIDES * B_SIDE>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tiles_m = SIZE / (4u * BM4);
    let m4 = group.x % tiles_m * BM4;
    let n4 = group.x / tiles_m * BN4;
    let tx = thread % TX;
    let ty = thread / TX;
    var acc: array<vec4<f32>, 4u * TM4 * TN4>;
    var side = 0u;
    //#repeat j JOBS
    let job$j = thread + $ju * THREADS;
    let is_a$j = job$j < A_JOBS;
    let at$j = select((job$j - A_JOBS) % BN4, job$j / BK4, is_a$j);
    let k$j = select((job$j - A_JOBS) / BN4, job$j % BK4, is_a$j);
    let from$j = select(4u * k$j * K4 + n4 + at$j, 4u * (m4 + at$j) * K4 + k$j, is_a$j);
    var v$j_0 = select(b[from$j], a[from$j], is_a$j);
    var v$j_1 = select(b[from$j + K4], a[from$j + K4], is_a$j);
    var v$j_2 = select(b[from$j + 2u * K4], a[from$j + 2u * K4], is_a$j);
    var v$j_3 = select(b[from$j + 3u * K4], a[from$j + 3u * K4], is_a$j);
    //#end
    for (var k4 = 0u; k4 < K4; k4 += BK4) {
        //#repeat j JOBS
        if is_a$j {
            let to = side * A_SIDE + 4u * k$j * BM4 + (at$j ^ (2u * k$j));
            a_tile[to] = vec4<f32>(v$j_0.x, v$j_1.x, v$j_2.x, v$j_3.x);
            a_tile[to + BM4] = vec4<f32>(v$j_0.y, v$j_1.y, v$j_2.y, v$j_3.y);
            a_tile[to + 2u * BM4] = vec4<f32>(v$j_0.z, v$j_1.z, v$j_2.z, v$j_3.z);
            a_tile[to + 3u * BM4] = vec4<f32>(v$j_0.w, v$j_1.w, v$j_2.w, v$j_3.w);
        } else {
            let to = side * B_SIDE + 4u * k$j * BN4 + at$j;
            b_tile[to] = v$j_0;
            b_tile[to + BN4] = v$j_1;
            b_tile[to + 2u * BN4] = v$j_2;
            b_tile[to + 3u * BN4] = v$j_3;
        }
        //#end
        workgroupBarrier();
        if k4 + BK4 < K4 {
            //#repeat j JOBS
            if is_a$j {
                let next = from$j + k4 + BK4;
                v$j_0 = a[next]; v$j_1 = a[next + K4]; v$j_2 = a[next + 2u * K4]; v$j_3 = a[next + 3u * K4];
            } else {
                let next = from$j + 4u * (k4 + BK4) * K4;
                v$j_0 = b[next]; v$j_1 = b[next + K4]; v$j_2 = b[next + 2u * K4]; v$j_3 = b[next + 3u * K4];
            }
            //#end
        }
        for (var q = 0u; q < BK4; q++) {
            let a_at = side * A_SIDE + 4u * q * BM4 + (ty ^ (2u * q));
            let b_at = side * B_SIDE + 4u * q * BN4 + tx;
            //#repeat k 4
            {
                //#repeat c TN4
                let b$c = b_tile[b_at + $ku * BN4 + $cu * TX];
                //#end
                //#repeat r TM4
                let a$r = a_tile[a_at + $ku * BM4 + $ru * TY];
                //#repeat c TN4
                //#repeat i 4
                acc[($ru * 4u + $iu) * TN4 + $cu] = fma(vec4<f32>(a$r[$i]), b$c, acc[($ru * 4u + $iu) * TN4 + $cu]);
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
    c[((m4 + ty + $ru * TY) * 4u + $iu) * K4 + n4 + tx + $cu * TX] = acc[($ru * 4u + $iu) * TN4 + $cu];
    //#end
    //#end
    //#end
}
