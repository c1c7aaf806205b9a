//! Fill: y[i] = word for i < count.
//! Set: THREADS (threads a workgroup)  Unit (u32 for every element of 32 bits, or f16)  Known (u32, or f32 for f16)
//#use grid
//#need THREADS Unit Known
//#param count: u32
//#param word: u32
@group(0) @binding(Y) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at < p.count { y[at] = Unit(bitcast<Known>(p.word)); }
}
