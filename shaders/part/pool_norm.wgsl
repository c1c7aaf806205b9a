//! The p-norm: (sum |v|^p)^(1/p).
//! Set:   POWER (1, 2, or 0 for p.power)
//! Slots: slim
//#use math_pow
//#need POWER
//#param power: f32
fn pool(sum: ptr<function, Elem>, at: ptr<function, Index>, v: Elem, offset: u32) {
    if POWER == 1u {
        *sum += abs(v);
    } else if POWER == 2u {
        *sum += v * v;
    } else {
        *sum += slim(pow_f(abs(vec4f(v)), vec4f(p.power)));
    }
}

fn pooled(sum: Elem, count: u32) -> Elem {
    if POWER == 1u { return sum; }
    if POWER == 2u { return sqrt(sum); }
    return slim(pow_f(vec4f(sum), vec4f(1.0 / p.power)));
}
