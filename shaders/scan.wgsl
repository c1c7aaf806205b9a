//! Running sums or products along n of x [outer, n, inner], LANES elements of a row at a time, from element `begin` to `end`;
//! what comes before was made by an earlier dispatch.
//! Set:   ROWS LANES THREADS PROD  T = Acc = Out (one element at a time in rows)
//! Slots: L  scanned
//#use walk
//#need PROD
//#param exclusive: u32
//#param reverse: u32
//#param begin: u32
//#param end: u32
@group(0) @binding(X) var<storage, read> x: array<L>;
@group(0) @binding(Y) var<storage, read_write> y: array<L>;
/// What the LANES elements up to an element make, those before it, and all of them.
struct Scan { own: L, before: L, all: L }

fn neutral() -> L { return L(select(T(0), T(1), PROD)); }

fn combine(a: L, b: L) -> L {
    if PROD { return a * b; }
    return a + b;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let w = walk(group, count, thread);
    let row = w.row * p.n * p.inner + w.column;
    var so_far = neutral();
    if p.begin > 0u && w.out < p.count {
        let last = row + select(p.begin - 1u, p.n - p.begin, p.reverse != 0u) * p.inner;
        so_far = y[last];
        if p.exclusive != 0u { so_far = combine(so_far, x[last]); }
    }
    // All threads go on together, those without an element too: barriers are on the way.
    for (var first = p.begin; first < p.end; first += LANES) {
        let place = first + thread % LANES;
        let inside = place < p.end && w.out < p.count;
        let at = row + select(place, p.n - 1u - place, p.reverse != 0u) * p.inner;
        var v = neutral();
        if inside { v = x[at]; }
        let s = scanned(v, thread);
        if inside {
            if p.exclusive != 0u { y[at] = combine(so_far, s.before); } else { y[at] = combine(so_far, s.own); }
        }
        so_far = combine(so_far, s.all);
    }
}
