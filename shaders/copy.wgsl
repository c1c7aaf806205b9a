//! Strided copy: y[y_at + i . y_by] = a[a_at + i . a_by] for all multi-indices i below shape, innermost axis first.
//! Elements are words of 32 bits or f16, one or four at a time. Strides wrap, so negative ones need no other type.
//! Set:   THREADS  OUTER (axes but the first)  Unit (u32 or f16)
//! Slots: move_at
//#use grid
//#need THREADS
//#need OUTER
//#param count: u32
//#param shape: dims
//#param a_by: dims
//#param y_by: dims
//#param a_at: u32
//#param y_at: u32

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    var left = flat_group(group, count) * THREADS + thread;
    if left >= p.count { return; }
    var at_a = p.a_at;
    var at_y = p.y_at;
    //#repeat d OUTER
    let rest$d = left / p.shape[$du / 4u][$du % 4u];
    let i$d = left - rest$d * p.shape[$du / 4u][$du % 4u];
    at_a += i$d * p.a_by[$du / 4u][$du % 4u];
    at_y += i$d * p.y_by[$du / 4u][$du % 4u];
    left = rest$d;
    //#end
    at_a += left * p.a_by[OUTER / 4u][OUTER % 4u];
    at_y += left * p.y_by[OUTER / 4u][OUTER % 4u];
    move_at(at_a, at_y);
}
