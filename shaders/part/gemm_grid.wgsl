//! The tile of a workgroup.
//! Slots: is_past
//#use grid
//#use gemm_size
//#param tiles_m: u32
//#param tiles_n: u32

/// Tiles along m that share a pass over B: large enough to reuse B from cache, small enough to keep their A there.
const BAND = 8u;

/// The tile's row, column and batch. Of a folded grid the last may lie past all batches: the shader leaves where `is_past`.
fn gemm_tile(group: vec3<u32>, count: vec3<u32>) -> vec3<u32> {
    let flat = flat_group(group, count);
    let tiles = p.tiles_m * p.tiles_n;
    let z = flat / tiles;
    let at = flat % tiles;
    let band = at / (BAND * p.tiles_n) * BAND;
    let rows = min(BAND, p.tiles_m - band);
    let inner = at - band * p.tiles_n;
    return vec3<u32>(band + inner % rows, inner / rows, z);
}
