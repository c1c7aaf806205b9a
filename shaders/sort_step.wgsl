//! One step of a bitonic sort (Batcher) of rows of keys (order, index), larger orders first, then lower indices: of two keys
//! `apart` from each other the one that belongs first goes first, or last in every other run of `run` keys.
//! Set: THREADS
//#use grid
//#need THREADS
/// Pairs.
//#param count: u32
//#param apart: u32
//#param run: u32
/// Keys of a row, less 1.
//#param row: u32
@group(0) @binding(KEYS) var<storage, read_write> keys: array<vec2<u32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let pair = flat_group(group, count) * THREADS + thread;
    if pair >= p.count { return; }
    let low = pair & (p.apart - 1u);
    let i = ((pair - low) << 1u) | low;
    let a = keys[i];
    let b = keys[i + p.apart];
    let x = bitcast<i32>(a.x);
    let y = bitcast<i32>(b.x);
    let ordered = x > y || (x == y && a.y < b.y);
    let forward = (i & p.row & p.run) == 0u;
    if ordered != forward {
        keys[i] = b;
        keys[i + p.apart] = a;
    }
}
