//! First of three steps of a scatter with reduction: the updates of each place become a list. head[place] is one more than the
//! number of its first update, next[t] one more than that of the update after t; 0 ends a list. The order is left open here.
//! Set:   THREADS
//! Slots: place_of
//#use grid
//#need THREADS
//#param count: u32
const NOWHERE = 0xffffffffu;
@group(0) @binding(HEAD) var<storage, read_write> head: array<atomic<u32>>;
@group(0) @binding(NEXT) var<storage, read_write> next: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let t = flat_group(group, count) * THREADS + thread;
    if t >= p.count { return; }
    let place = place_of(t);
    if place != NOWHERE { next[t] = atomicExchange(&head[place], t + 1u); }
}
