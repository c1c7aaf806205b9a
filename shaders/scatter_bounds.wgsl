//! Third step of a scatter with reduction: where the updates of each place begin and end among the sorted ones. Places without
//! updates keep what is there, which is 0 and 0.
//! Set: THREADS
//#use grid
//#need THREADS
//#param count: u32
//#param places: u32
@group(0) @binding(KEYS) var<storage, read> keys: array<u32>;
@group(0) @binding(HEAD) var<storage, read_write> head: array<u32>;
@group(0) @binding(TAIL) var<storage, read_write> tail: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let place = keys[i];
    if place >= p.places { return; }
    let last = p.count - 1u;
    if i == 0u || keys[max(i, 1u) - 1u] != place { head[place] = i; }
    if i == last || keys[min(i + 1u, last)] != place { tail[place] = i + 1u; }
}
