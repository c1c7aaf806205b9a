//! Folds floats by sum or product. T and Out are f32 or f16, Acc = f32.
//! Set: PROD  BEFORE (1 |x|, 2 x^2)  AFTER (1 a * scale, 2 sqrt)
//#need PROD BEFORE AFTER
//#param scale: f32
alias A = V;

fn start() -> A { return A(select(0.0, 1.0, PROD)); }

fn before(loaded: L, k: u32) -> A {
    let v = V(loaded);
    if BEFORE == 1u { return abs(v); }
    if BEFORE == 2u { return v * v; }
    return v;
}

fn combine(a: A, b: A) -> A {
    if PROD { return a * b; }
    return a + b;
}

fn turn(a: A) -> A { return rotate(a); }

fn after(a: A) -> R {
    if AFTER == 1u { return R(a * p.scale); }
    if AFTER == 2u { return R(sqrt(a)); }
    return R(a);
}
