//! Reduce: y[o, s, i] = after(the fold of before(x[o, k, i]) over k in chunk s of n). Output-centred: the same bits each run.
//! Set:   ROWS LANES THREADS  T Acc Out (element, accumulator, result)
//! Slots: L V A R Y narrow  start before combine turn after  share  ending
//#use walk
//#use ending
alias Last = Y;
@group(0) @binding(X) var<storage, read> x: array<L>;
@group(0) @binding(Y) var<storage, read_write> y: array<Y>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let w = walk(group, count, thread);
    // Four sums, so that one addition need not wait for the other.
    //#repeat i 4
    var a$i = start();
    //#end
    if ACROSS == 4u {
        // A software adapter waits for memory less if a thread uses up what it fetches.
        let last = p.inner - 1u - w.column;
        for (var k = 0u; k < w.steps; k++) {
            //#repeat i 4
            let v$i = x[w.at + k * w.by + min($iu, last)];
            //#end
            //#repeat i 4
            a$i = combine(a$i, before(v$i, w.first + k));
            //#end
        }
        if stores(w, thread) {
            //#repeat i 4
            if $iu <= last { y[w.out + $iu] = ending(narrow(after(a$i)), w.out + $iu); }
            //#end
        }
    } else {
        var k = 0u;
        for (; k + 4u <= w.steps; k += 4u) {
            //#repeat i 4
            let v$i = x[w.at + (k + $iu) * w.by];
            //#end
            //#repeat i 4
            a$i = combine(a$i, before(v$i, w.first + (k + $iu) * w.skip));
            //#end
        }
        for (; k < w.steps; k++) {
            a0 = combine(a0, before(x[w.at + k * w.by], w.first + k * w.skip));
        }
        let all = share(combine(combine(a0, a1), combine(a2, a3)), thread);
        if stores(w, thread) { y[w.out] = ending(narrow(after(all)), w.out); }
    }
}
