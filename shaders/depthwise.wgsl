//! Depthwise convolution in NHWC: Y[pixel, c] = store(sum_tap X[pixel + tap, c] * F[tap, c]).
//! A thread computes 4 channels of XO outputs along x, so that a filter value is loaded once for XO outputs and, where the
//! kernel's width KW and stride SX are known, an input once for all the outputs that see it.
//! Vectors of extents are (depth, height, width, 0); leading axes of lower ranks have extent 1. m counts output pixels,
//! n channels.
//! Set:   THREADS  XO  KW SX (kernel width and stride, or 1 and any with RUN_X)  SPAN = (XO - 1) * SX + KW
//!        RUN_X (kernel positions along x are walked one by one)
//! Slots: a_four  f_four  store4_at
//#use grid
//#use gemm_store
//#need KW SX SPAN XO
//#param in_size: vec4<u32>
//#param out_size: vec4<u32>
//#param kernel: vec4<u32>
//#param stride: vec4<u32>
//#param dilation: vec4<u32>
//#param pad: vec4<u32>
//#param a_ld: u32
/// Runs of XO outputs in a row of the output, and in all of it.
//#param tiles_x: u32
//#param tiles: u32
//#need THREADS

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let flat = flat_group(group, count) * THREADS + thread;
    let c4 = flat % p.n4;
    let run = flat / p.n4;
    if run >= p.tiles { return; }
    let ox = run % p.tiles_x * XO;
    let row = run / p.tiles_x;          // of the output: (image, depth, height)
    let y0 = row % p.out_size.y * p.stride.y - p.pad.y;
    let plane = row / p.out_size.y;
    let d0 = plane % p.out_size.x * p.stride.x - p.pad.x;
    let image = plane / p.out_size.x;
    let first_x = ox * p.stride.z - p.pad.z;
    let x_step = select(1u, p.stride.z, RUN_X);
    var acc: array<vec4<f32>, XO>;
    var v: array<vec4<f32>, SPAN>;
    for (var kd = 0u; kd < p.kernel.x; kd++) {
        let d = d0 + kd * p.dilation.x;
        for (var ky = 0u; ky < p.kernel.y; ky++) {
            let y = y0 + ky * p.dilation.y;
            if d >= p.in_size.x || y >= p.in_size.y { continue; }
            let in_row = ((image * p.in_size.x + d) * p.in_size.y + y) * p.in_size.z;
            let taps = (kd * p.kernel.y + ky) * p.kernel.z;
            for (var kx = 0u; kx < p.kernel.z; kx += KW) {
                //#repeat i SPAN
                let x$i = first_x + kx * p.dilation.z + $iu * x_step;
                let in$i = a_four((in_row + min(x$i, p.in_size.z - 1u)) * p.a_ld + 4u * c4);
                v[$i] = select(vec4<f32>(), in$i, x$i < p.in_size.z);
                //#end
                //#repeat k KW
                let f$k = f_four(taps + kx + $ku, c4);
                //#end
                //#repeat k KW
                //#repeat o XO
                acc[$o] = fma(v[$ou * SX + $ku], f$k, acc[$o]);
                //#end
                //#end
            }
        }
    }
    let own = own_columns(4u * c4, 0u);
    //#repeat o XO
    if ox + $ou < p.out_size.z { store4_at(row * p.out_size.z + ox + $ou, c4, 0u, acc[$o], own); }
    //#end
}
