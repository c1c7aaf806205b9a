//! `gemm_reg` for one case, written by hand without slots or uniforms: A in rows, B in panels, every size a constant.
//! Set: SIZE LANES RQ R = 4 * LANES * RQ  CQ
//#need SIZE
@group(0) @binding(A) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(B) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(C) var<storage, read_write> c: array<vec4<f32>>;
const K4 = SIZE / 4u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles_m = SIZE / R;
    let m0 = group.x % tiles_m * R;
    let panel = group.x / tiles_m * CQ;
    var acc: array<vec4<f32>, R * CQ>;
    //#repeat i RQ
    let row$i = (m0 + 4u * ($iu * LANES + lane)) * K4;
    //#end
    for (var k4 = 0u; k4 < K4; k4++) {
        //#repeat i RQ
        //#repeat j 4
        let a$i_$j = a[row$i + $ju * K4 + k4];
        //#end
        //#end
        //#repeat c CQ
        //#repeat k 4
        let b$c_$k = b[((panel + $cu) * SIZE + 4u * k4 + $ku) * LANES + lane];
        //#end
        //#end
        //#repeat i RQ
        //#repeat l LANES
        //#repeat j 4
        //#repeat k 4
        {
            let a = subgroupBroadcast(a$i_$j[$k], $lu);
            //#repeat c CQ
            acc[(4u * ($iu * LANES + $lu) + $ju) * CQ + $cu] = fma(vec4<f32>(a), b$c_$k, acc[(4u * ($iu * LANES + $lu) + $ju) * CQ + $cu]);
            //#end
        }
        //#end
        //#end
        //#end
        //#end
    }
    //#repeat r R
    //#repeat c CQ
    c[(m0 + $ru) * K4 + (panel + $cu) * LANES + lane] = acc[$ru * CQ + $cu];
    //#end
    //#end
}
