//! Stable radix sort, one digit of four bits, step 1: counts[digit, b] = how many keys of block b have the digit.
//! A thread has a block of BLOCK neighbouring keys to itself, so nothing is atomic and the order within it is kept.
//! Set: THREADS  BLOCK
//#use grid
//#need THREADS
//#need BLOCK
//#param count: u32
//#param keys_count: u32
//#param shift: u32
@group(0) @binding(KEYS) var<storage, read> keys: array<u32>;
@group(0) @binding(COUNTS) var<storage, read_write> counts: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let block = flat_group(group, count) * THREADS + thread;
    if block >= p.count { return; }
    for (var digit = 0u; digit < 16u; digit++) { counts[digit * p.count + block] = 0u; }
    let end = min((block + 1u) * BLOCK, p.keys_count);
    for (var i = block * BLOCK; i < end; i++) {
        counts[((keys[i] >> p.shift) & 15u) * p.count + block] += 1u;
    }
}
