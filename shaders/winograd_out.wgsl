//! Output transform of Winograd's F(o x o, 3 x 3) in NHWC: the o x o outputs of a tile are A^T M A, where M[i, j] is
//! PRODUCTS[T i + j, tile, channel], T = o + 2 (Lavin and Gray 2016). A thread transforms 4 channels of one tile. m counts
//! output pixels, n channels.
//! Set:   THREADS  T (POINTS of the part)  O (OUTPUTS of the part)
//! Slots: store4  to_outputs POINTS OUTPUTS
//#use grid
//#use gemm_store
//#need THREADS T O
/// (depth, height, width, 0), as the other convolutions have them; depth is 1.
//#param out_size: vec4<u32>
/// Tiles along y and x, and of all images.
//#param tiles_y: u32
//#param tiles_x: u32
//#param tiles: u32
@group(0) @binding(PRODUCTS) var<storage, read> products: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let flat = flat_group(group, count) * THREADS + thread;
    let n4 = flat % p.n4;
    let tile = flat / p.n4;
    if tile >= p.tiles { return; }
    let step = p.tiles * p.n4;
    let first = tile * p.n4 + n4;
    var t: array<vec4<f32>, O * T>;   // A^T M
    //#repeat j T
    {
        var m: array<vec4<f32>, T>;
        //#repeat i T
        m[$i] = products[first + ($iu * T + $ju) * step];
        //#end
        let column = to_outputs(m);
        //#repeat i O
        t[$iu * T + $ju] = column[$i];
        //#end
    }
    //#end
    let x = tile % p.tiles_x * OUTPUTS;
    let y = tile / p.tiles_x % p.tiles_y * OUTPUTS;
    let rows = tile / (p.tiles_x * p.tiles_y) * p.out_size.y;
    //#repeat i O
    if y + $iu < p.out_size.y {
        var m: array<vec4<f32>, T>;
        //#repeat j T
        m[$j] = t[$iu * T + $ju];
        //#end
        let row = to_outputs(m);
        let pixel = (rows + y + $iu) * p.out_size.z + x;
        //#repeat j O
        if x + $ju < p.out_size.z { store4(pixel + $ju, n4, 0u, row[$j]); }
        //#end
    }
    //#end
}
