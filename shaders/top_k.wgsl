//! The first k along n of x [outer, n, inner] by size, one after another: each is the first of those behind the last. A dispatch
//! finds those from number `begin` to `end`; the ones before are there.
//! Of equal elements the one with the lower index comes first; a NaN is above all numbers.
//! Set:   ROWS LANES THREADS  SMALLEST (smallest first)  T, Acc = Out = i32, MIN = LAST = false, one element at a time
//! Slots: L V U  fold_arg  order  share
//#use walk
//#need SMALLEST
//#param k: u32
//#param begin: u32
//#param end: u32
@group(0) @binding(X) var<storage, read> x: array<L>;
@group(0) @binding(VALUES) var<storage, read_write> values: array<L>;
@group(0) @binding(INDICES) var<storage, read_write> indices: array<Y>;

fn element(v: L, at: u32) -> A {
    var e = before(v, at);
    if SMALLEST { e.place = ~e.place; }
    return e;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let w = walk(group, count, thread);
    var last = start();
    if p.begin > 0u && w.steps > 0u {
        let at = (w.row * p.k + p.begin - 1u) * p.inner + w.column;
        last = element(values[at], u32(indices[at]));
    }
    for (var r = p.begin; r < p.end; r++) {
        var a = start();
        for (var k = 0u; k < w.steps; k++) {
            let e = element(x[w.at + k * w.by], w.first + k * w.skip);
            let behind = e.place < last.place || (e.place == last.place && e.at > last.at);
            if r == 0u || behind { a = combine(a, e); }
        }
        last = share(a, thread);
        if stores(w, thread) {
            let to = (w.row * p.k + r) * p.inner + w.column;
            values[to] = x[(w.row * p.n + last.at) * p.inner + w.column];
            indices[to] = after(last);
        }
    }
}
