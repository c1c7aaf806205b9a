//! LANES neighbours of a workgroup combine what they hold, and their components, in a fixed order.
//#use joined
var<workgroup> parts: array<A, THREADS>;

fn share(a: A, thread: u32) -> A {
    // A former call may still be read.
    workgroupBarrier();
    parts[thread] = joined(a);
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread % LANES < width { parts[thread] = combine(parts[thread], parts[thread + width]); }
    }
    workgroupBarrier();
    return parts[thread / LANES * LANES];
}
