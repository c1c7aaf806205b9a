//! Fill: y[i] = value for i < count.
//! Set:   THREADS (threads a workgroup), Store (the element type; `value` is converted to it)
//#use grid
//#need THREADS
//#need Store
//#param count: u32
//#param value: f32
@group(0) @binding(Y) var<storage, read_write> y: array<Store>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at < p.count { y[at] = Store(p.value); }
}
