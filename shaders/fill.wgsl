//! Fill: y[i] = word for i < count.
//! Set: THREADS (threads a workgroup)
//! An element is a word of 32 bits, so one shader serves every storage type (two f16 or four int8 a word).
//#use grid
//#need THREADS
//#param count: u32
//#param word: u32
@group(0) @binding(Y) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at < p.count { y[at] = p.word; }
}
