//! Range: y[i] = start + i * step.
//! Set: THREADS  T (f32 or i32; integers wrap)
//#use grid
//#need THREADS
//#need T
//#param count: u32
//#param start: u32
//#param step: u32
@group(0) @binding(Y) var<storage, read_write> y: array<T>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    y[i] = bitcast<T>(p.start) + T(i) * bitcast<T>(p.step);
}
