//! OneHot: y[o, class, j] = values[1] where indices[o, j] names the class, else values[0]. Negative indices count from the end;
//! those outside -depth..depth name none.
//! Set: THREADS  Index (i32, u32 or f32, which is truncated)  Unit (u32 or f16)
//#use grid
//#need THREADS
//#need Index
//#need Unit
//#param count: u32
//#param depth: u32
//#param inner: u32
@group(0) @binding(INDICES) var<storage, read> indices: array<Index>;
@group(0) @binding(VALUES) var<storage, read> values: array<Unit>;
@group(0) @binding(Y) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let line = i / p.inner;
    let o = line / p.depth;
    // A u32 beyond i32 must not become a negative index.
    let named = i32(min(indices[o * p.inner + i - line * p.inner], Index(2147483647)));
    let label = i32(line - o * p.depth);
    let on = named == label || (named < 0 && named + i32(p.depth) == label);
    y[i] = values[select(0u, 1u, on)];
}
