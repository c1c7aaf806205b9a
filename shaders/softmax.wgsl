//! Softmax along n of x [outer, n, inner]: y = exp(x - m) / s, m being the maximum and s the sum of the numerators;
//! with LOG its logarithm x - m - log(s).
//! Set:   ROWS LANES THREADS LOG  T is f32 or f16, Acc = Out = f32
//! Slots: L V  fold_lse  share  ending
//#use walk
//#use ending
//#need LOG
alias Last = V;
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
        s = s * power(m - next) + ((power(v0 - next) + power(v1 - next)) + (power(v2 - next) + power(v3 - next)));
        m = next;
    }
    for (; k < w.steps; k++) {
        let v = V(x[w.at + k * w.by]);
        let next = min(max(m, v), V(LARGEST));
        s = s * power(m - next) + power(v - next);
        m = next;
    }
    let all = share(A(m, s), thread);
    // A row of -inf alone has no softmax.
    let none = all.s == V(0.0);
    let factor = select(1.0 / all.s, special(0x7fc00000u), none);
    let shift = select(logarithm(all.s), special(0x7fc00000u), none);
    for (k = 0u; k < w.steps; k++) {
        let at = w.at + k * w.by;
        let v = V(x[at]) - all.m;
        if LOG { y[at] = L(ending(v - shift, at)); } else { y[at] = L(ending(power(v) * factor, at)); }
    }
}
