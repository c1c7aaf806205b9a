//! Folds integers, which wrap. T = Acc = Out = i32 or u32.
//! Set: FOLD (0 sum, 1 product, 2 max, 3 min)  BEFORE (1 |x|, 2 x^2)  AFTER (1 a / total)
//#need FOLD BEFORE AFTER
//#param total: u32
/// The bits of what changes nothing.
//#param neutral: u32
alias A = V;

fn start() -> A { return A(bitcast<Acc>(p.neutral)); }

fn before(v: L, k: u32) -> A {
    if BEFORE == 1u { return abs(v); }
    if BEFORE == 2u { return v * v; }
    return v;
}

fn combine(a: A, b: A) -> A {
    if FOLD == 1u { return a * b; }
    if FOLD == 2u { return max(a, b); }
    if FOLD == 3u { return min(a, b); }
    return a + b;
}

fn turn(a: A) -> A { return rotate(a); }

fn after(a: A) -> R {
    if AFTER == 1u { return a / A(Acc(p.total)); }
    return a;
}
