//! Last step of a scatter with reduction: y[place, j] = a[place, j] combined with the place's updates, in their order.
//! Software adapters cut a loop off after 65,535 rounds: a round takes eight updates, and a dispatch only `most` of a place's,
//! from `first` on; later ones go on from y.
//! Set:   THREADS  OP (1 sum, 2 product, 3 smaller, 4 larger)  Word (f32, i32 or u32, or a vector of four)
//! Slots: combine
//#use grid
//#need THREADS
//#need Word
//#param count: u32
//#param inner: u32
//#param first: u32
//#param most: u32
@group(0) @binding(A) var<storage, read> a: array<Word>;
@group(0) @binding(UPDATES) var<storage, read> updates: array<Word>;
@group(0) @binding(ORDER) var<storage, read> order: array<u32>;
@group(0) @binding(HEAD) var<storage, read> head: array<u32>;
@group(0) @binding(TAIL) var<storage, read> tail: array<u32>;
@group(0) @binding(Y) var<storage, read_write> y: array<Word>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let place = i / p.inner;
    let j = i - place * p.inner;
    let all = tail[place] - head[place];
    if p.first > 0u && p.first >= all { return; }
    var value = a[i];
    if p.first > 0u { value = y[i]; }
    var at = head[place] + p.first;
    let end = head[place] + min(all, p.first + p.most);
    while at + 8u <= end {
        //#repeat k 8
        let u$k = updates[order[at + $ku] * p.inner + j];
        //#end
        //#repeat k 8
        value = combine(value, u$k);
        //#end
        at += 8u;
    }
    while at < end {
        value = combine(value, updates[order[at] * p.inner + j]);
        at++;
    }
    y[i] = value;
}
