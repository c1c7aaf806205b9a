//! Depthwise convolution in NHWC by a small kernel: Y[pixel, c] = store(sum_tap X[pixel + tap, c] * F[tap, c]).
//! A thread computes 4 channels of YO x XO outputs, and loads every input that they see once and the filter once: where loads
//! cost more than arithmetic. Vectors of extents are (depth, height, width, 0); depth is 1. m counts output pixels, n channels.
//! Set:   THREADS  YO XO  KH KW (kernel)  SY SX (stride)  TAPS = KH * KW
//!        ROWS = (YO - 1) * SY + KH  SPAN = (XO - 1) * SX + KW
//! Slots: a_four  f_four  store4_at
//#use grid
//#use gemm_store
//#need THREADS YO XO KH KW SY SX TAPS ROWS SPAN
//#param in_size: vec4<u32>
//#param out_size: vec4<u32>
//#param pad: vec4<u32>
//#param a_ld: u32
/// Tiles along y and x, and of all images.
//#param tiles_y: u32
//#param tiles_x: u32
//#param tiles: u32

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let flat = flat_group(group, count) * THREADS + thread;
    let c4 = flat % p.n4;
    let tile = flat / p.n4;
    if tile >= p.tiles { return; }
    let ox = tile % p.tiles_x * XO;
    let line = tile / p.tiles_x;
    let oy = line % p.tiles_y * YO;
    let image = line / p.tiles_y;
    // Coordinates before the first row or column wrap, and are as far outside as those past the last.
    let first_x = ox * SX - p.pad.z;
    let first_y = oy * SY - p.pad.y;
    //#repeat i SPAN
    let x$i = first_x + $iu;
    let at_x$i = min(x$i, p.in_size.z - 1u) * p.a_ld + 4u * c4;
    //#end
    let f = array<vec4<f32>, TAPS>(
        //#repeat t TAPS
        f_four($tu, c4),
        //#end
    );
    var acc: array<vec4<f32>, YO * XO>;
    //#repeat j ROWS
    {
        let y = first_y + $ju;
        let in_y = y < p.in_size.y;
        let row = (image * p.in_size.y + min(y, p.in_size.y - 1u)) * p.in_size.z * p.a_ld;
        let v = array<vec4<f32>, SPAN>(
            //#repeat i SPAN
            select(vec4<f32>(), a_four(row + at_x$i), in_y & (x$i < p.in_size.z)),
            //#end
        );
        //#repeat r YO
        //#repeat k KH
        if $ru * SY + $ku == $ju {
            //#repeat o XO
            //#repeat q KW
            acc[$ru * XO + $ou] = fma(v[$ou * SX + $qu], f[$ku * KW + $qu], acc[$ru * XO + $ou]);
            //#end
            //#end
        }
        //#end
        //#end
    }
    //#end
    let own = own_columns(4u * c4, 0u);
    let pixel = (image * p.out_size.y + oy) * p.out_size.z + ox;
    //#repeat r YO
    //#repeat o XO
    if oy + $ru < p.out_size.y && ox + $ou < p.out_size.z {
        store4_at(pixel + $ru * p.out_size.z + $ou, c4, 0u, acc[$ru * XO + $ou], own);
    }
    //#end
    //#end
}
