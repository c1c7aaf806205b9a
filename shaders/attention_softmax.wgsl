//! Attention's softmax over a matrix of products [item, head, query, key], in place: x becomes cap(scale x) + bias, then
//! its softmax along the keys; rows without any key become zeros.
//! Set:   LANES THREADS  T = Acc = Out = f32, ROWS  KEEP (1 scaled, 2 capped, 3 biased, 4 softmax; 0: nothing is kept)
//! Slots: L V  fold_lse  share  scores  keep
//#use walk
//#use attention_score
//#need KEEP
//#param heads: u32
@group(0) @binding(X) var<storage, read_write> x: array<L>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let w = walk(group, count, thread);
    let query = w.row % p.queries;
    let head = w.row / p.queries % p.heads;
    let item = w.row / p.queries / p.heads;
    var m = V(-LARGEST);
    var s = V(0.0);
    for (var k = 0u; k < w.steps; k++) {
        let at = w.at + k * w.by;
        let v = scores(x[at], at, item, head, query, w.first + k * w.skip);
        x[at] = v;
        // A maximum that stays finite, as in fold_lse.
        let next = min(max(m, v), V(LARGEST));
        s = s * power(m - next) + power(v - next);
        m = next;
    }
    let all = share(A(m, s), thread);
    let factor = select(V(0.0), 1.0 / all.s, all.s > V(0.0));
    for (var k = 0u; k < w.steps; k++) {
        let at = w.at + k * w.by;
        let v = power(x[at] - all.m) * factor;
        x[at] = v;
        if KEEP == 4u { keep(at, v); }
    }
}
