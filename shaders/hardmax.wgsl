//! Hardmax along n of x [outer, n, inner]: y is 1 at the first maximum, 0 elsewhere.
//! Set:   ROWS LANES THREADS  T is f32 or f16, Acc = Out = i32
//! Slots: L U positions  fold_arg  share
//#use walk
@group(0) @binding(X) var<storage, read> x: array<L>;
@group(0) @binding(Y) var<storage, read_write> y: array<L>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let w = walk(group, count, thread);
    var a = start();
    for (var k = 0u; k < w.steps; k++) {
        a = combine(a, before(x[w.at + k * w.by], w.first + k * w.skip));
    }
    let best = share(a, thread);
    for (var k = 0u; k < w.steps; k++) {
        y[w.at + k * w.by] = select(L(0.0), L(1.0), positions(w.first + k * w.skip) == best.at);
    }
}
