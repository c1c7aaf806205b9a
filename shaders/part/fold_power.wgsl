//! Sums of floats with a power or a logarithm before or after. T and Out are f32 or f16, Acc = f32.
//! Set:   BEFORE (3 |x|^power)  AFTER (3 log, 4 a^(1/power))
//! Slots: slim
//#use fold_sum
//#use math_pow
//#need BEFORE AFTER
//#param power: f32
fn start() -> A { return A(0.0); }

fn before(loaded: L, k: u32) -> A {
    let v = V(loaded);
    if BEFORE == 3u { return slim(pow_f(abs(vec4f(v)), vec4f(p.power))); }
    return v;
}

fn after(a: A) -> R {
    if AFTER == 3u { return R(slim(log_f(vec4f(a)))); }
    if AFTER == 4u { return R(slim(pow_f(vec4f(a), vec4f(1.0 / p.power)))); }
    return R(a);
}
