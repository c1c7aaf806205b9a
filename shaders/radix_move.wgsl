//! Stable radix sort, step 3: keys and what goes with them move to their places by one digit of four bits.
//! Set: THREADS  BLOCK (as in radix_count)
//#use grid
//#need THREADS
//#need BLOCK
//#param count: u32
//#param keys_count: u32
//#param shift: u32
@group(0) @binding(KEYS) var<storage, read> keys: array<u32>;
@group(0) @binding(ORDER) var<storage, read> order: array<u32>;
@group(0) @binding(COUNTS) var<storage, read_write> counts: array<u32>;
@group(0) @binding(KEYS_OUT) var<storage, read_write> keys_out: array<u32>;
@group(0) @binding(ORDER_OUT) var<storage, read_write> order_out: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let block = flat_group(group, count) * THREADS + thread;
    if block >= p.count { return; }
    let end = min((block + 1u) * BLOCK, p.keys_count);
    for (var i = block * BLOCK; i < end; i++) {
        let slot = ((keys[i] >> p.shift) & 15u) * p.count + block;
        let to = counts[slot];
        counts[slot] = to + 1u;
        keys_out[to] = keys[i];
        order_out[to] = order[i];
    }
}
