//! Stable radix sort, step 2: each count becomes the sum of those before it. One workgroup; a thread has `chunk` of the counts.
//#param count: u32
//#param chunk: u32
const THREADS = 256u;
@group(0) @binding(COUNTS) var<storage, read_write> counts: array<u32>;
var<workgroup> sums: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    let start = min(thread * p.chunk, p.count);
    let end = min(start + p.chunk, p.count);
    var sum = 0u;
    for (var i = start; i < end; i++) { sum += counts[i]; }
    sums[thread] = sum;
    workgroupBarrier();
    for (var step = 1u; step < THREADS; step *= 2u) {
        let before = select(0u, sums[max(thread, step) - step], thread >= step);
        workgroupBarrier();
        sums[thread] += before;
        workgroupBarrier();
    }
    var at = sums[thread] - sum;
    for (var i = start; i < end; i++) {
        let here = counts[i];
        counts[i] = at;
        at += here;
    }
}
