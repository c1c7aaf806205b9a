//! EyeLike: y[r, c] = one where c = r + k, else 0.
//! Set: THREADS
//#use grid
//#need THREADS
//#param count: u32
//#param columns: u32
//#param k: i32
//#param one: u32
@group(0) @binding(Y) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let row = i / p.columns;
    y[i] = select(0u, p.one, i32(i - row * p.columns) - i32(row) == p.k);
}
