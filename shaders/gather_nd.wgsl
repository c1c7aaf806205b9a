//! GatherND: y[t, j] = a[batch(t) + sum_q indices[t, q] * by[q] + j] for tuples t of TUPLE indices, j < inner. Each batch has
//! batch_tuples tuples and batch_words elements.
//! Set: THREADS  TUPLE  Word (u32, f16 or four of them; inner, batch_words and by are counted in them)
//#use grid
//#use resolve
//#need THREADS
//#need TUPLE
//#need Word
//#param count: u32
//#param sizes: dims
//#param by: dims
//#param inner: u32
//#param batch_tuples: u32
//#param batch_words: u32
@group(0) @binding(A) var<storage, read> a: array<Word>;
@group(0) @binding(INDICES) var<storage, read> indices: array<i32>;
@group(0) @binding(Y) var<storage, read_write> y: array<Word>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let t = i / p.inner;
    var at = t / p.batch_tuples * p.batch_words + i - t * p.inner;
    //#repeat q TUPLE
    at += resolve(indices[t * TUPLE + $qu], p.sizes[$qu / 4u][$qu % 4u]) * p.by[$qu / 4u][$qu % 4u];
    //#end
    y[i] = a[at];
}
