//! The scan of LANES neighbouring threads (Hillis and Steele): each round adds what lies twice as far back.
var<workgroup> sums: array<L, THREADS>;

fn scanned(v: L, thread: u32) -> Scan {
    let lane = thread % LANES;
    // A former call may still be read.
    workgroupBarrier();
    sums[thread] = v;
    for (var back = 1u; back < LANES; back *= 2u) {
        workgroupBarrier();
        var left = neutral();
        if lane >= back { left = sums[thread - back]; }
        workgroupBarrier();
        sums[thread] = combine(left, sums[thread]);
    }
    workgroupBarrier();
    var before = neutral();
    if lane > 0u { before = sums[thread - 1u]; }
    return Scan(sums[thread], before, sums[thread - lane + LANES - 1u]);
}
