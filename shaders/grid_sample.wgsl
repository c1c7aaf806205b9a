//! Sampling at positions of a grid: y[n, c, place] = sum over taps of weight * x[n, c, tap], channels first.
//! The grid holds, for each place, positions in -1..1, the innermost axis first. Vectors of extents are (depth, height,
//! width, channels); a flat image has depth 1.
//! Set: THREADS CHUNK (channels of a thread); RANK (2 or 3)
//!      MODE (0 nearest, ties to even; 1 linear; 2 cubic, a = -0.75)
//!      PAD (0 zeros, 1 border, 2 reflection); ALIGN (-1 and 1 are centres of elements, not edges)
//#use grid
//#need THREADS
//#need CHUNK
//#need RANK
//#need MODE
//#need PAD
//#need ALIGN
//#param in_size: vec4<u32>
/// Places of an image, chunks of channels, invocations.
//#param places: u32
//#param chunks: u32
//#param count: u32
@group(0) @binding(X) var<storage, read> x: array<f32>;
@group(0) @binding(GRID) var<storage, read> grid: array<f32>;
@group(0) @binding(Y) var<storage, read_write> y: array<f32>;

/// Elements along an axis, -1 for none, and their weights.
struct Taps { index: vec4<i32>, weight: vec4<f32> }

/// Taps along an axis.
const COUNT = select(select(1u, 2u, MODE == 1u), 4u, MODE == 2u);

/// `at` mirrored at the borders until it lies between them.
fn reflect_at(at: f32, n: f32) -> f32 {
    let low = select(-0.5, 0.0, ALIGN);
    let range = select(n, n - 1.0, ALIGN);
    if at >= low && at <= low + range { return at; }
    if range <= 0.0 { return 0.0; }
    let over = at - low - floor((at - low) / (2.0 * range)) * 2.0 * range;
    return low + min(over, 2.0 * range - over);
}

fn inside(at: f32, n: f32) -> f32 {
    if PAD == 1u { return clamp(at, 0.0, n - 1.0); }
    if PAD == 2u { return reflect_at(at, n); }
    return at;
}

/// The element at a whole position.
fn element(at: f32, n: f32) -> i32 {
    let to = inside(at, n);
    return select(-1, i32(to), to >= 0.0 && to < n);
}

/// The cubic convolution kernel (Keys 1981, equation 4).
fn cubic(d: f32) -> f32 {
    const A = -0.75;
    let v = abs(d);
    if v <= 1.0 { return ((A + 2.0) * v - (A + 3.0)) * v * v + 1.0; }
    if v >= 2.0 { return 0.0; }
    return ((A * v - 5.0 * A) * v + 8.0 * A) * v - 4.0 * A;
}

fn taps_at(position: f32, size: u32) -> Taps {
    let n = f32(size);
    var at = ((position + 1.0) * n - 1.0) / 2.0;
    if ALIGN { at = (position + 1.0) / 2.0 * (n - 1.0); }
    if MODE == 0u { at = round(at); }
    at = inside(at, n);
    let low = floor(at);
    let part = at - low;
    if MODE == 0u { return Taps(vec4<i32>(element(low, n)), vec4<f32>(1.0)); }
    if MODE == 1u {
        let index = vec4<i32>(element(low, n), element(low + 1.0, n), 0, 0);
        return Taps(index, vec4<f32>(1.0 - part, part, 0.0, 0.0));
    }
    let index = vec4<i32>(element(low - 1.0, n), element(low, n), element(low + 1.0, n), element(low + 2.0, n));
    return Taps(index, vec4<f32>(cubic(part + 1.0), cubic(part), cubic(1.0 - part), cubic(2.0 - part)));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at >= p.count { return; }
    let place = at % p.places;
    let n = at / p.places / p.chunks;
    let first = at / p.places % p.chunks * CHUNK;
    let position = (n * p.places + place) * RANK;
    let ws = taps_at(grid[position], p.in_size.z);
    let hs = taps_at(grid[position + 1u], p.in_size.y);
    var ds = Taps(vec4<i32>(), vec4<f32>(1.0));
    if RANK == 3u { ds = taps_at(grid[position + RANK - 1u], p.in_size.x); }
    let plane = p.in_size.x * p.in_size.y * p.in_size.z;
    for (var c = first; c < min(first + CHUNK, p.in_size.w); c++) {
        let image = (n * p.in_size.w + c) * plane;
        var sum = 0.0;
        for (var d = 0u; d < select(1u, COUNT, RANK == 3u); d++) {
            for (var h = 0u; h < COUNT; h++) {
                if ds.index[d] < 0 || hs.index[h] < 0 { continue; }
                let row = (u32(ds.index[d]) * p.in_size.y + u32(hs.index[h])) * p.in_size.z;
                for (var w = 0u; w < COUNT; w++) {
                    if ws.index[w] < 0 { continue; }
                    let weight = ds.weight[d] * hs.weight[h] * ws.weight[w];
                    sum += weight * x[image + row + u32(ws.index[w])];
                }
            }
        }
        y[(n * p.in_size.w + c) * p.places + place] = sum;
    }
}
