//! `gemm_reg` for one case, written by hand without slots or uniforms: A in rows, B in panels of 32 columns, all moved as words of
//! 64 bits, a lane with 8 columns that lie side by side, every size a constant.
//! Set: SIZE LANES RQ R = 4 * LANES * RQ  CQ = 2
//#need SIZE
@group(0) @binding(A) var<storage, read> a: array<vec2<u64>>;
@group(0) @binding(B) var<storage, read> b: array<vec4<u64>>;
@group(0) @binding(C) var<storage, read_write> c: array<vec4<u64>>;
const K4 = SIZE / 4u;
fn two(word: u64) -> vec2<u32> { return vec2<u32>(u32(word), u32(word >> 32u)); }
fn four(x: u64, y: u64) -> vec4<f32> { return bitcast<vec4<f32>>(vec4<u32>(two(x), two(y))); }
fn word(x: f32, y: f32) -> u64 { return u64(bitcast<u32>(x)) | (u64(bitcast<u32>(y)) << 32u); }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles_m = SIZE / R;
    let m0 = group.x % tiles_m * R;
    let tile = group.x / tiles_m;
    let column = (2u * tile + lane / 4u) * SIZE * 4u + lane % 4u;
    var acc: array<vec4<f32>, R * CQ>;
    //#repeat i RQ
    let row$i = (m0 + 4u * ($iu * LANES + lane)) * K4;
    //#end
    for (var k4 = 0u; k4 < K4; k4++) {
        //#repeat i RQ
        //#repeat j 4
        let wa$i_$j = a[row$i + $ju * K4 + k4];
        let a$i_$j = four(wa$i_$j.x, wa$i_$j.y);
        //#end
        //#end
        //#repeat k 4
        let wb$k = b[column + (4u * k4 + $ku) * 4u];
        let b0_$k = four(wb$k.x, wb$k.y);
        let b1_$k = four(wb$k.z, wb$k.w);
        //#end
        //#repeat c CQ
        //#repeat i RQ
        //#repeat l LANES
        //#repeat j 4
        {
            var sum = acc[(4u * ($iu * LANES + $lu) + $ju) * CQ + $cu];
            //#repeat k 4
            sum = fma(vec4<f32>(subgroupBroadcast(a$i_$j[$k], $lu)), b$c_$k, sum);
            //#end
            acc[(4u * ($iu * LANES + $lu) + $ju) * CQ + $cu] = sum;
        }
        //#end
        //#end
        //#end
        //#end
    }
    //#repeat r R
    {
        let x = acc[$ru * 2u];
        let y = acc[$ru * 2u + 1u];
        c[(m0 + $ru) * (SIZE / 8u) + tile * LANES + lane] = vec4<u64>(word(x.x, x.y), word(x.z, x.w), word(y.x, y.y), word(y.z, y.w));
    }
    //#end
}
