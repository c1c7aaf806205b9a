//! Trilu: y[.., r, c] = a[.., r, c] where c - r >= k (UPPER) or c - r <= k, else 0.
//! Set: THREADS  UPPER  Unit (u32 or f16)
//#use grid
//#need THREADS
//#need UPPER
//#need Unit
//#param count: u32
//#param rows: u32
//#param columns: u32
//#param k: i32
@group(0) @binding(A) var<storage, read> a: array<Unit>;
@group(0) @binding(Y) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let line = i / p.columns;
    let diagonal = i32(i - line * p.columns) - i32(line % p.rows);
    let keep = select(diagonal <= p.k, diagonal >= p.k, UPPER);
    y[i] = select(Unit(), a[i], keep);
}
