//! First step of a scatter with reduction: for each update t the number of its place as the key to sort by, or `places` where
//! it has none, and t itself.
//! Set:   THREADS
//! Slots: place_of
//#use grid
//#need THREADS
//#param count: u32
//#param places: u32
const NOWHERE = 0xffffffffu;
@group(0) @binding(KEYS) var<storage, read_write> keys: array<u32>;
@group(0) @binding(ORDER) var<storage, read_write> order: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let t = flat_group(group, count) * THREADS + thread;
    if t >= p.count { return; }
    let place = place_of(t);
    keys[t] = select(place, p.places, place == NOWHERE);
    order[t] = t;
}
