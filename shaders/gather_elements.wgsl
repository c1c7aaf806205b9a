//! GatherElements: y[i] = a[i . by + indices[i] * axis_step] for all multi-indices i below shape, innermost axis first; `by` is 0
//! along the axis that the indices count in.
//! Set: THREADS  OUTER (axes but the innermost)  Unit (u32 or f16)
//#use grid
//#use resolve
//#need THREADS
//#need OUTER
//#need Unit
//#param count: u32
//#param shape: dims
//#param by: dims
//#param size: u32
//#param axis_step: u32
@group(0) @binding(A) var<storage, read> a: array<Unit>;
@group(0) @binding(INDICES) var<storage, read> indices: array<i32>;
@group(0) @binding(Y) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at >= p.count { return; }
    var element = resolve(indices[at], p.size) * p.axis_step;
    var left = at;
    //#repeat d OUTER
    let rest$d = left / p.shape[$du / 4u][$du % 4u];
    element += (left - rest$d * p.shape[$du / 4u][$du % 4u]) * p.by[$du / 4u][$du % 4u];
    left = rest$d;
    //#end
    y[at] = a[element + left * p.by[OUTER / 4u][OUTER % 4u]];
}
