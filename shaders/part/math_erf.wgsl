//! The error function and GELU. Coefficients are minimax fits.
//#use math

/// erf(x) for |x| <= 1.
fn erf_near_zero(x: vec4f) -> vec4f {
    let s = x * x;
    var t = fma(s, vec4f(7.854009e-5), vec4f(-8.010242e-4));
    t = fma(s, t, vec4f(5.188334e-3));
    t = fma(s, t, vec4f(-2.6853815e-2));
    t = fma(s, t, vec4f(0.112835854));
    t = fma(s, t, vec4f(-0.37612626));
    t = fma(s, t, vec4f(1.1283791));
    return x * t;
}

/// e^(-k x^2), for k = 1 or 0.5: the square of the first 12 bits is exact, and the rest d of the exponent is below 0.2.
fn bell(x: vec4f, k: f32) -> vec4f {
    let h = bitcast<vec4f>(bitcast<vec4u>(x) & vec4u(0xfffff000u));
    let d = k * (x - h) * (x + h);
    return exp_f(-k * h * h) * (1.0 + expm1_near_zero(-d));
}

/// (1 - erf(x)) e^(x^2) for x in 0.95..11: a polynomial in q = 1 / (1 + 0.35 x).
fn erfc_scaled(x: vec4f) -> vec4f {
    let q = 1.0 / fma(x, vec4f(0.35), vec4f(1.0));
    var t = fma(q, vec4f(-0.10292999), vec4f(0.2604243));
    t = fma(q, t, vec4f(-9.467966e-2));
    t = fma(q, t, vec4f(0.21980916));
    t = fma(q, t, vec4f(0.13196023));
    t = fma(q, t, vec4f(0.19099444));
    t = fma(q, t, vec4f(0.19686098));
    t = fma(q, t, vec4f(0.1974943));
    return q * t;
}

fn erf_f(x: vec4f) -> vec4f {
    let a = abs(x);
    let c = min(a, vec4f(11.0));
    let y = select(erf_near_zero(a), 1.0 - erfc_scaled(c) * bell(c, 1.0), a > vec4f(0.95));
    return select(copy_sign(y, x), x, is_nan(x));
}

fn gelu_none(x: vec4f) -> vec4f {
    let c = min(abs(x), vec4f(15.0));
    let a = c * 0.70710677;
    let tail = 0.5 * erfc_scaled(a) * bell(c, 0.5);
    let far = select(1.0 - tail, tail, x < vec4f());
    let near = 0.5 + 0.5 * copy_sign(erf_near_zero(a), x);
    return select(x * select(near, far, a > vec4f(0.95)), x, is_nan(x));
}

/// (1 + tanh u) / 2 = sigmoid(2 u), with 2 u = 2 sqrt(2 / pi) (x + 0.044715 x^3).
fn gelu_tanh(x: vec4f) -> vec4f { return x * sigmoid_f(x * fma(x * x, vec4f(0.07135481), vec4f(1.5957691))); }
