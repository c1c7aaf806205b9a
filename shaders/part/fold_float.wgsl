//! Folds floats by sum or product. T = Acc = Out = f32.
//! Set: PROD  BEFORE (1 |x|, 2 x^2, 3 |x|^power)  AFTER (1 a * scale, 2 sqrt, 3 log, 4 a^(1/power))
//#need PROD BEFORE AFTER
//#param scale: f32
//#param power: f32
alias A = V;

fn start() -> A { return A(select(0.0, 1.0, PROD)); }

fn before(v: L, k: u32) -> A {
    if BEFORE == 1u { return abs(v); }
    if BEFORE == 2u { return v * v; }
    if BEFORE == 3u { return pow(abs(v), A(p.power)); }
    return v;
}

fn combine(a: A, b: A) -> A {
    if PROD { return a * b; }
    return a + b;
}

fn turn(a: A) -> A { return rotate(a); }

fn after(a: A) -> R {
    if AFTER == 1u { return a * p.scale; }
    if AFTER == 2u { return sqrt(a); }
    if AFTER == 3u { return log(a); }
    if AFTER == 4u { return pow(a, A(1.0 / p.power)); }
    return a;
}
