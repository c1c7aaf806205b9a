//! Normalisation along n of x [outer, n, inner]: y = adjust((x - mean) * inverse), two-pass: mean = sum(x) / n, then
//! v = sum((x - mean)^2) or sum(|x - mean|).
//! Set:   ROWS LANES THREADS  CENTRED (else mean = 0)  ABS  T is f32 or f16, Acc = Out = f32
//!        INVERSE (0: 1 / sqrt(v / n + epsilon), 1: 1 / (sqrt(v / n) + epsilon), 2: 1 / sqrt(v), 3: 1 / v; the latter 0 for v = 0)
//! Slots: L V  share  adjust  keep_stats  ending
//#use summed
//#use ending
//#need CENTRED INVERSE
/// 1 / n.
//#param scale: f32
//#param epsilon: f32
alias Last = V;
@group(0) @binding(Y) var<storage, read_write> y: array<L>;

fn inverse_of(v: V) -> V {
    if INVERSE == 0u { return 1.0 / sqrt(v * p.scale + p.epsilon); }
    if INVERSE == 1u { return 1.0 / (sqrt(v * p.scale) + p.epsilon); }
    if INVERSE == 2u { return select(1.0 / sqrt(v), V(0.0), v == V(0.0)); }
    return select(1.0 / v, V(0.0), v == V(0.0));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let w = walk(group, count, thread);
    var mean = V(0.0);
    if CENTRED { mean = share(sum_of(w), thread) * p.scale; }
    let inverse = inverse_of(share(spread_around(w, mean), thread));
    keep_stats(w, thread, mean, inverse);
    for (var k = 0u; k < w.steps; k++) {
        let at = w.at + k * w.by;
        y[at] = L(ending(adjust((V(x[at]) - mean) * inverse, w, w.first + k * w.skip), at));
    }
}
