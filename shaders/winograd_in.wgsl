//! Input transform of Winograd's F(o x o, 3 x 3) in NHWC: V[T i + j, tile, c] = (B^T d B)[i, j], where d is the T x T patch of
//! X under a tile of o x o outputs, T = o + 2 (Lavin and Gray 2016). A thread transforms 4 channels of one tile. Padding
//! reads as 0.
//! Set:   THREADS  T (POINTS of the part)
//! Slots: a_four  to_points POINTS OUTPUTS
//#use grid
//#need THREADS T
/// (depth, height, width, 0), as the other convolutions have them; depth is 1.
//#param in_size: vec4<u32>
//#param pad: vec4<u32>
/// Tiles along y and x, and of all images.
//#param tiles_y: u32
//#param tiles_x: u32
//#param tiles: u32
/// Blocks of 4 channels.
//#param c4: u32
@group(0) @binding(V) var<storage, read_write> v: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let flat = flat_group(group, count) * THREADS + thread;
    let c4 = flat % p.c4;
    let tile = flat / p.c4;
    if tile >= p.tiles { return; }
    // Coordinates before the first row or column wrap, and are as far outside as those past the last.
    let first_x = tile % p.tiles_x * OUTPUTS - p.pad.z;
    let first_y = tile / p.tiles_x % p.tiles_y * OUTPUTS - p.pad.y;
    let rows = tile / (p.tiles_x * p.tiles_y) * p.in_size.y;
    //#repeat i T
    let y$i = first_y + $iu;
    let in_y$i = y$i < p.in_size.y;
    let row$i = (rows + min(y$i, p.in_size.y - 1u)) * p.in_size.z;
    //#end
    var t: array<vec4<f32>, T * T>;   // B^T d
    //#repeat j T
    {
        let x = first_x + $ju;
        let in_x = x < p.in_size.z;
        let at = min(x, p.in_size.z - 1u);
        var d: array<vec4<f32>, T>;
        //#repeat i T
        d[$i] = select(vec4<f32>(), a_four(4u * ((row$i + at) * p.c4 + c4)), in_x & in_y$i);
        //#end
        let column = to_points(d);
        //#repeat i T
        t[$iu * T + $ju] = column[$i];
        //#end
    }
    //#end
    let step = p.tiles * p.c4;
    let to = tile * p.c4 + c4;
    //#repeat i T
    {
        var d: array<vec4<f32>, T>;
        //#repeat j T
        d[$j] = t[$iu * T + $ju];
        //#end
        let row = to_points(d);
        //#repeat j T
        v[to + ($iu * T + $ju) * step] = row[$j];
        //#end
    }
    //#end
}
