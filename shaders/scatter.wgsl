//! Scatter without reduction: y[place(t), j] = updates[t, j] for j < inner. Two updates of one place race; ONNX forbids them.
//! Set:   THREADS  Word (u32, f16 or four of them; inner is counted in them)
//! Slots: place_of
//#use grid
//#need THREADS
//#need Word
//#param count: u32
//#param inner: u32
const NOWHERE = 0xffffffffu;
@group(0) @binding(UPDATES) var<storage, read> updates: array<Word>;
@group(0) @binding(Y) var<storage, read_write> y: array<Word>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let i = flat_group(group, count) * THREADS + thread;
    if i >= p.count { return; }
    let t = i / p.inner;
    let place = place_of(t);
    if place != NOWHERE { y[place * p.inner + i - t * p.inner] = updates[i]; }
}
