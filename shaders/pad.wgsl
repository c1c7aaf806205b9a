//! Pad: y[i] = a[source(i - begin)] for all multi-indices i below shape (innermost axis first), or a value where that lies
//! outside. A negative begin cuts elements off.
//! Set:   THREADS  OUTER (axes but the innermost)  MODE (0 value, 1 reflect, 2 edge, 3 wrap)
//!        Unit (u32 or f16)  Word (one or four of them; the innermost axis is counted in them)  Known (type of a value's bits)
//! Slots: padding
//#use grid
//#need THREADS
//#need OUTER
//#need MODE
//#need Word
//#param count: u32
//#param shape: dims
//#param size: dims
//#param begin: dims
//#param by: dims
@group(0) @binding(A) var<storage, read> a: array<Word>;
@group(0) @binding(Y) var<storage, read_write> y: array<Word>;

/// Which of `n` elements stands at a place that may lie outside.
fn source(at: i32, n: i32) -> i32 {
    if MODE == 1u {
        let period = max(2 * (n - 1), 1);
        let phase = (at % period + period) % period;
        return min(phase, period - phase) * min(n - 1, 1);
    }
    if MODE == 3u { return (at % n + n) % n; }
    return clamp(at, 0, n - 1);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let at = flat_group(group, count) * THREADS + thread;
    if at >= p.count { return; }
    var left = at;
    var element = 0u;
    var inside = true;
    //#repeat d OUTER
    let rest$d = left / p.shape[$du / 4u][$du % 4u];
    let i$d = i32(left - rest$d * p.shape[$du / 4u][$du % 4u]) - i32(p.begin[$du / 4u][$du % 4u]);
    let n$d = i32(p.size[$du / 4u][$du % 4u]);
    inside = inside && i$d >= 0 && i$d < n$d;
    element += u32(source(i$d, n$d)) * p.by[$du / 4u][$du % 4u];
    left = rest$d;
    //#end
    let i = i32(left) - i32(p.begin[OUTER / 4u][OUTER % 4u]);
    let n = i32(p.size[OUTER / 4u][OUTER % 4u]);
    inside = inside && i >= 0 && i < n;
    element += u32(source(i, n)) * p.by[OUTER / 4u][OUTER % 4u];
    if MODE == 0u && !inside {
        y[at] = padding();
    } else {
        y[at] = a[element];
    }
}
