//! log(sum(exp(x))) as a pair: a maximum m and the sum s of exp(x - m), so that nothing overflows. T and Out are f32 or f16,
//! Acc = f32.
//#use power
const LARGEST = 3.4028234e38;
struct A { m: V, s: V }

/// The maximum stays finite: differences of infinities would be NaN. An infinite x is in its exponential.
fn start() -> A { return A(V(-LARGEST), V(0.0)); }

fn before(loaded: L, k: u32) -> A {
    let v = V(loaded);
    let m = clamp(v, V(-LARGEST), V(LARGEST));
    return A(m, power(v - m));
}

fn combine(a: A, b: A) -> A {
    let m = max(a.m, b.m);
    return A(m, a.s * power(a.m - m) + b.s * power(b.m - m));
}

fn turn(a: A) -> A { return A(rotate(a.m), rotate(a.s)); }

fn after(a: A) -> R { return R(a.m + logarithm(a.s)); }
