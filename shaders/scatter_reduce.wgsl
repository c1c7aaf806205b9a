//! Third step of a scatter with reduction: y[place, j] = a[place, j] combined with the updates in the place's list, in order.
//! Set:   THREADS  OP (1 sum, 2 product, 3 smaller, 4 larger)  Word (f32, i32 or u32, or a vector of four)
//! Slots: combine
//#use grid
//#need THREADS
//#need Word
//#param count: u32
//#param inner: u32
@group(0) @binding(A) var<storage, read> a: array<Word>;
@group(0) @binding(UPDATES) var<storage, read> updates: array<Word>;
@group(0) @binding(HEAD) var<storage, read> head: array<u32>;
@group(0) @binding(NEXT) var<storage, read> next: array<u32>;
@group(0) @binding(Y) var<storage, read_write> y: array<Word>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let place = i / p.inner;
    let j = i - place * p.inner;
    var value = a[i];
    var at = head[place];
    while at != 0u {
        value = combine(value, updates[(at - 1u) * p.inner + j]);
        at = next[at - 1u];
    }
    y[i] = value;
}
