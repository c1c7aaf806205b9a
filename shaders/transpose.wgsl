//! Strided copy in which two axes change places: y[.. column, row] = a[.. row, column], in blocks of 4 x 4 a thread.
//! A workgroup moves 32 x 32 elements, so that it reads and writes whole lines of 128 bytes (of f16, 64) without shared memory.
//! shape holds the numbers of tiles along rows and columns, then the other axes, innermost first.
//! Set:   OUTER (the other axes)  Unit (u32 or f16)
//! Slots: move_block
//#use grid
//#need OUTER Unit
//#param shape: dims
//#param a_by: dims
//#param y_by: dims
//#param rows: u32
//#param columns: u32
//#param row_step: u32
//#param column_step: u32
//#param a_at: u32
//#param y_at: u32
const TILE = 32u;

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_id) thread: vec3<u32>) {
    var left = flat_group(group, count);
    let tiles = left / p.shape[0][0];
    let row = (left - tiles * p.shape[0][0]) * TILE + thread.y * 4u;
    left = tiles / p.shape[0][1];
    let column = (tiles - left * p.shape[0][1]) * TILE + thread.x * 4u;
    var at_a = p.a_at;
    var at_y = p.y_at;
    //#repeat d OUTER
    let rest$d = left / p.shape[($du + 2u) / 4u][($du + 2u) % 4u];
    let i$d = left - rest$d * p.shape[($du + 2u) / 4u][($du + 2u) % 4u];
    at_a += i$d * p.a_by[($du + 2u) / 4u][($du + 2u) % 4u];
    at_y += i$d * p.y_by[($du + 2u) / 4u][($du + 2u) % 4u];
    left = rest$d;
    //#end
    // Folding may have added workgroups.
    if left > 0u || row >= p.rows || column >= p.columns { return; }
    move_block(at_a, at_y, row, column);
}
