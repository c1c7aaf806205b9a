//! Packs integers to 8 bits, four a word, the first in the lowest byte; the last axis is padded with zeros:
//! y[row, w] = bytes of x[row, 4 w ..], and back.
//! Set: THREADS; UNPACK (back: words to integers); SIGNED (integers below zero exist)
//#use grid
//#need THREADS
//#need UNPACK
//#need SIGNED
/// Words of the packed tensor; integers and words of a row.
//#param count: u32
//#param columns: u32
//#param words: u32
@group(0) @binding(X) var<storage, read> x: array<u32>;
@group(0) @binding(Y) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let word = flat_group(group, count) * THREADS + thread;
    if word >= p.count { return; }
    let first = word % p.words * 4u;
    let begin = word / p.words * p.columns + first;
    let left = min(p.columns - first, 4u);
    if UNPACK {
        for (var i = 0u; i < left; i++) {
            let byte = (x[word] >> (8u * i)) & 0xffu;
            y[begin + i] = select(byte, u32((i32(byte) << 24u) >> 24u), SIGNED);
        }
    } else {
        var packed = 0u;
        for (var i = 0u; i < left; i++) { packed |= (x[begin + i] & 0xffu) << (8u * i); }
        y[word] = packed;
    }
}
