//! Pointwise functions: y = map(operands), four elements a thread.
//! Set:   THREADS; YT (element type of y); those of part/operands
//! Slots: map_at(quad): the function's four elements
//#use grid
//#use operands
//#need THREADS YT

@group(0) @binding(Y) var<storage, read_write> y: array<vec4<YT>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let quad = flat_group(group, groups) * THREADS + thread;
    if quad * 4u < p.map_count { y[quad] = vec4<YT>(map_at(quad)); }
}
