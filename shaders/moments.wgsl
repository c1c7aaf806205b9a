//! Mean and population variance over n of x [outer, n, inner]: s[0, ..] and s[1, ..].
//! Set:   ROWS LANES THREADS  ABS = false  T is f32 or f16, Acc = Out = f32
//! Slots: L V Y narrow  share
//#use summed
/// 1 / n.
//#param scale: f32
@group(0) @binding(S) var<storage, read_write> s: array<Y>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let w = walk(group, count, thread);
    let mean = share(sum_of(w), thread) * p.scale;
    let variance = share(spread_around(w, mean), thread) * p.scale;
    if stores(w, thread) {
        s[w.out] = narrow(mean);
        s[p.count + w.out] = narrow(variance);
    }
}
