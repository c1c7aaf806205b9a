//! Which elements of x [outer, n, inner] a thread visits; L is what it loads at once.
//! LANES neighbours share what lies along n, or one of `splits` chunks of it. ROWS (inner is 1): they have a row; n and chunk
//! count in L. Else they own ACROSS neighbouring L of inner; inner counts in L. There are `count` rows or owners.
//! Set: ROWS LANES THREADS (a multiple of LANES)  ACROSS (1 with ROWS or several LANES)
//#use grid
//#need ROWS LANES THREADS ACROSS
//#param n: u32
//#param inner: u32
//#param splits: u32
//#param chunk: u32
//#param count: u32
struct Walk {
    /// Its first element is at, the next by further; there are steps of them. On the axis: number first, then skip further.
    at: u32, by: u32, steps: u32, first: u32, skip: u32,
    /// Its place in outer and inner, and its first output.
    row: u32, column: u32, out: u32,
}

fn walk(group: vec3<u32>, groups: vec3<u32>, thread: u32) -> Walk {
    var w: Walk;
    let flat = flat_group(group, groups) * THREADS + thread;
    w.out = flat / LANES;
    let owners = (p.inner + ACROSS - 1u) / ACROSS;
    let row = select(w.out / owners, w.out, ROWS);
    let begin = row % p.splits * p.chunk;
    let to = min(begin + p.chunk, p.n);
    w.row = row / p.splits;
    w.column = select(w.out % owners * ACROSS, 0u, ROWS);
    w.first = begin + thread % LANES;
    let inner = select(p.inner, 1u, ROWS);
    w.at = (w.row * p.n + w.first) * inner + w.column;
    w.by = LANES * inner;
    w.skip = LANES;
    w.steps = (max(to, w.first) - w.first + LANES - 1u) / LANES;
    // Nobody leaves early: barriers follow.
    if w.out >= p.count { w.steps = 0u; }
    if !ROWS { w.out = row * p.inner + w.column; }
    return w;
}

/// Whether a thread holds a result to store.
fn stores(w: Walk, thread: u32) -> bool { return w.steps > 0u && thread % LANES == 0u; }
