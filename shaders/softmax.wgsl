//! Softmax along n of x [outer, n, inner]: y = exp(x - m) / s, m being the maximum and s the sum of the numerators;
//! with LOG its logarithm x - m - log(s).
//! Set:   ROWS LANES THREADS LOG  T is f32 or f16, Acc = Out = f32
//! Slots: L V  fold_lse  share
//#use walk
//#need LOG
@group(0) @binding(X) var<storage, read> x: array<L>;
@group(0) @binding(Y) var<storage, read_write> y: array<L>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let w = walk(group, count, thread);
    var m = V(-LARGEST);
    var s = V(0.0);
    var k = 0u;
    for (; k + 4u <= w.steps; k += 4u) {
        //#repeat i 4
        let v$i = V(x[w.at + (k + $iu) * w.by]);
        //#end
        // A maximum that stays finite, as in fold_lse.
        let next = min(max(m, max(max(v0, v1), max(v2, v3))), V(LARGEST));
        s = s * exp(m - next) + ((exp(v0 - next) + exp(v1 - next)) + (exp(v2 - next) + exp(v3 - next)));
        m = next;
    }
    for (; k < w.steps; k++) {
        let v = V(x[w.at + k * w.by]);
        let next = min(max(m, v), V(LARGEST));
        s = s * exp(m - next) + exp(v - next);
        m = next;
    }
    let all = share(A(m, s), thread);
    // Of a row of -inf the sum is 0, and 0 / 0 is right.
    let factor = 1.0 / all.s;
    let shift = log(all.s);
    for (k = 0u; k < w.steps; k++) {
        let at = w.at + k * w.by;
        let v = V(x[at]) - all.m;
        if LOG { y[at] = L(v - shift); } else { y[at] = L(exp(v) * factor); }
    }
}
