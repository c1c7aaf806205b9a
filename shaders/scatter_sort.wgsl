//! Second step of a scatter with reduction: each list in the order of its updates, so that sums come out the same every time.
//! A list of n is turned around (neighbouring threads leave it nearly backwards) and, unless that did it, merge sorted in
//! place, bottom up: n log n steps, no other memory.
//! Set: THREADS
//#use grid
//#need THREADS
//#param count: u32
@group(0) @binding(HEAD) var<storage, read_write> head: array<u32>;
@group(0) @binding(NEXT) var<storage, read_write> next: array<u32>;

/// Merges neighbouring runs of `size` of the list `first`; (the new first, how many pairs there were).
fn merge_runs(first: u32, size: u32) -> vec2<u32> {
    var left = first;
    var start = 0u;
    var tail = 0u;
    var pairs = 0u;
    while left != 0u {
        pairs++;
        var right = left;
        var lefts = 0u;
        while lefts < size && right != 0u {
            lefts++;
            right = next[right - 1u];
        }
        var rights = size;
        while lefts > 0u || (rights > 0u && right != 0u) {
            let from_left = lefts > 0u && (rights == 0u || right == 0u || left < right);
            let taken = select(right, left, from_left);
            if from_left {
                left = next[left - 1u];
                lefts--;
            } else {
                right = next[right - 1u];
                rights--;
            }
            if tail == 0u { start = taken; } else { next[tail - 1u] = taken; }
            tail = taken;
        }
        left = right;
    }
    next[tail - 1u] = 0u;
    return vec2(start, pairs);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) thread: u32) {
    let place = flat_group(group, count) * THREADS + thread;
    if place >= p.count { return; }
    var at = head[place];
    if at == 0u { return; }
    var first = 0u;
    var sorted = true;
    while at != 0u {
        let after = next[at - 1u];
        next[at - 1u] = first;
        sorted = sorted && (first == 0u || at < first);
        first = at;
        at = after;
    }
    var size = 1u;
    while !sorted {
        let merged = merge_runs(first, size);
        first = merged.x;
        sorted = merged.y <= 1u;
        size *= 2u;
    }
    head[place] = first;
}
