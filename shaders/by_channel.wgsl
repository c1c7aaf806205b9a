//! y = (x - table[0, c]) * table[1, c] + table[2, c], c being the channel of the element.
//! Rows are channels (the row's number modulo `channels`), or columns are.
//! Set:   ROWS LANES THREADS  T is f32 or f16, Acc = Out = f32
//! Slots: L V Y
//#use walk
/// Channels, counted in Y.
//#param channels: u32
@group(0) @binding(X) var<storage, read> x: array<L>;
@group(0) @binding(TABLE) var<storage, read> table: array<Y>;
@group(0) @binding(Y) var<storage, read_write> y: array<L>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let w = walk(group, count, thread);
    let c = select(w.column, w.row % p.channels, ROWS);
    let mean = V(table[c]);
    let factor = V(table[p.channels + c]);
    let shift = V(table[2u * p.channels + c]);
    for (var k = 0u; k < w.steps; k++) {
        let at = w.at + k * w.by;
        y[at] = L((V(x[at]) - mean) * factor + shift);
    }
}
