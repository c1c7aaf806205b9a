//! What a thread's elements of x have to do with a mean: their sum, or the sum of how far they are from it.
//! Set: ABS (how far is |x - mean|, else its square)
//#use walk
//#use fold_sum
//#need ABS
@group(0) @binding(X) var<storage, read> x: array<L>;

fn apart(v: V, mean: V) -> V {
    let d = v - mean;
    if ABS { return abs(d); }
    return d * d;
}

fn sum_of(w: Walk) -> A {
    //#repeat i 4
    var a$i = A(0.0);
    //#end
    var k = 0u;
    for (; k + 4u <= w.steps; k += 4u) {
        //#repeat i 4
        let v$i = V(x[w.at + (k + $iu) * w.by]);
        //#end
        //#repeat i 4
        a$i += v$i;
        //#end
    }
    for (; k < w.steps; k++) { a0 += V(x[w.at + k * w.by]); }
    return (a0 + a1) + (a2 + a3);
}

fn spread_around(w: Walk, mean: V) -> A {
    //#repeat i 4
    var a$i = A(0.0);
    //#end
    var k = 0u;
    for (; k + 4u <= w.steps; k += 4u) {
        //#repeat i 4
        let v$i = V(x[w.at + (k + $iu) * w.by]);
        //#end
        //#repeat i 4
        a$i += apart(v$i, mean);
        //#end
    }
    for (; k < w.steps; k++) { a0 += apart(V(x[w.at + k * w.by]), mean); }
    return (a0 + a1) + (a2 + a3);
}
