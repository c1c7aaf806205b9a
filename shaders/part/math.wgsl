//! Functions of f32 that WGSL leaves vague: NaN, exp, log, the hyperbolic ones and activations, to a few ulp.
//!
//! Tests of NaN and infinity look at bits, because compilers may assume that neither occurs. They may also reassociate:
//! n a + n b becomes n (a + b), so a product that must stay apart has a factor of its own. Coefficients are minimax fits.

fn is_nan(x: vec4f) -> vec4<bool> { return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u); }

fn is_inf(x: vec4f, negative: bool, positive: bool) -> vec4<bool> {
    let bits = bitcast<vec4u>(x);
    return ((bits == vec4u(0x7f800000u)) & vec4<bool>(positive)) | ((bits == vec4u(0xff800000u)) & vec4<bool>(negative));
}

/// Constant expressions may not be infinite or NaN; a variable's bits may.
fn from_bits(bits: u32) -> vec4f {
    var b = vec4u(bits);
    return bitcast<vec4f>(b);
}
fn infinity() -> vec4f { return from_bits(0x7f800000u); }
fn not_a_number() -> vec4f { return from_bits(0x7fc00000u); }

/// The size of x with the sign of y.
fn copy_sign(x: vec4f, y: vec4f) -> vec4f {
    return bitcast<vec4f>((bitcast<vec4u>(x) & vec4u(0x7fffffffu)) | (bitcast<vec4u>(y) & vec4u(0x80000000u)));
}

fn sign_f(x: vec4f) -> vec4f { return select(select(x, vec4f(1.0), x > vec4f()), vec4f(-1.0), x < vec4f()); }
fn min_f(x: vec4f, y: vec4f) -> vec4f { return select(y, x, (x < y) | is_nan(x)); }
fn max_f(x: vec4f, y: vec4f) -> vec4f { return select(y, x, (x > y) | is_nan(x)); }
fn relu_f(x: vec4f) -> vec4f { return select(x, vec4f(), x < vec4f()); }
fn leaky_relu_f(x: vec4f, alpha: f32) -> vec4f { return select(x, alpha * x, x < vec4f()); }
fn prelu_f(x: vec4f, slope: vec4f) -> vec4f { return select(x, slope * x, x < vec4f()); }
fn clamp01_f(x: vec4f) -> vec4f { return select(select(x, vec4f(1.0), x > vec4f(1.0)), vec4f(), x < vec4f()); }
fn shrink_f(x: vec4f, lambda: f32, bias: f32) -> vec4f {
    return select(select(vec4f(), x - bias, x > vec4f(lambda)), x + bias, x < vec4f(-lambda));
}

/// 2^n for whole n in -126..127.
fn pow2(n: vec4f) -> vec4f { return bitcast<vec4f>((vec4i(n) + vec4i(127)) << vec4u(23u)); }

/// The whole n for which |x - n ln 2| is smallest.
fn exp_whole(x: vec4f) -> vec4f { return round(x * 1.442695); }

/// e^(x - n ln 2) - 1. ln 2 has two parts, the first of 12 bits, so that n times it is exact; the other comes by 2 n.
fn exp_rest(x: vec4f, n: vec4f) -> vec4f {
    let twice = vec4f(vec4i(n) << vec4u(1u));
    return expm1_near_zero(fma(twice, vec4f(-1.5973092e-5), fma(n, vec4f(-0.693115234375), x)));
}

/// e^r - 1 for |r| < 0.36.
fn expm1_near_zero(r: vec4f) -> vec4f {
    var t = fma(r, vec4f(1.9858123e-4), vec4f(1.3934486e-3));
    t = fma(r, t, vec4f(8.333362e-3));
    t = fma(r, t, vec4f(4.166646e-2));
    t = fma(r, t, vec4f(0.16666667));
    t = fma(r, t, vec4f(0.5));
    return fma(r * r, t, r);
}

fn exp_f(x: vec4f) -> vec4f {
    let c = clamp(x, vec4f(-104.0), vec4f(89.0));
    let n = exp_whole(c);
    let half = floor(n * 0.5);
    let y = (1.0 + exp_rest(c, n)) * pow2(half) * pow2(n - half);
    return select(y, x, is_nan(x));
}

/// e^x - 1 for x <= 88, without cancellation.
fn expm1_f(x: vec4f) -> vec4f {
    let c = max(x, vec4f(-80.0));
    let n = exp_whole(c);
    let s = pow2(n);
    return fma(s, exp_rest(c, n), s - 1.0);
}

/// ln(1 + f) for f in -0.293..0.414.
fn log_near_one(f: vec4f) -> vec4f {
    var t = fma(f, vec4f(0.07039101), vec4f(-0.11516329));
    t = fma(f, t, vec4f(0.116772935));
    t = fma(f, t, vec4f(-0.124199405));
    t = fma(f, t, vec4f(0.14249276));
    t = fma(f, t, vec4f(-0.16668063));
    t = fma(f, t, vec4f(0.20000716));
    t = fma(f, t, vec4f(-0.24999994));
    t = fma(f, t, vec4f(0.3333333));
    let f2 = f * f;
    return f + fma(f2 * f, t, -0.5 * f2);
}

fn log_f(x: vec4f) -> vec4f {
    // Subnormal numbers are scaled first, where the device has them.
    let tiny = x < vec4f(1.17549435e-38);
    let bits = bitcast<vec4u>(select(x, x * 8388608.0, tiny));
    let e = bitcast<vec4i>(bits - vec4u(0x3f3504f3u)) >> vec4u(23u);
    let m = bitcast<vec4f>(bits - (bitcast<vec4u>(e) << vec4u(23u)));
    let n = vec4f(e) - select(vec4f(), vec4f(23.0), tiny);
    let y = fma(n, vec4f(0.693115234375), fma(n, vec4f(3.1946185e-5), log_near_one(m - 1.0)));
    let special = select(select(x, -infinity(), x == vec4f()), not_a_number(), x < vec4f());
    return select(y, special, (x <= vec4f()) | is_nan(x) | is_inf(x, false, true));
}

fn log1p_f(x: vec4f) -> vec4f {
    return select(log_f(1.0 + x), log_near_one(x), (x > vec4f(-0.29)) & (x < vec4f(0.41)));
}

fn sigmoid_f(x: vec4f) -> vec4f {
    let z = exp_f(-abs(x));
    return select(vec4f(1.0), z, x < vec4f()) / (1.0 + z);
}

fn tanh_f(x: vec4f) -> vec4f {
    let t = expm1_f(-2.0 * abs(x));
    return select(copy_sign(t / (2.0 + t), x), x, is_nan(x));
}

fn sinh_f(x: vec4f) -> vec4f {
    let a = abs(x);
    let t = expm1_f(min(a, vec4f(80.0)));
    // Half the exponent, twice: e^x overflows before sinh does.
    let h = exp_f(0.5 * a);
    let y = select(0.5 * (t + t / (t + 1.0)), 0.5 * h * h, a > vec4f(20.0));
    return select(copy_sign(y, x), x, is_nan(x));
}

fn cosh_f(x: vec4f) -> vec4f {
    let a = abs(x);
    let t = exp_f(min(a, vec4f(80.0)));
    let h = exp_f(0.5 * a);
    return select(select(0.5 * (t + 1.0 / t), 0.5 * h * h, a > vec4f(20.0)), x, is_nan(x));
}

fn asinh_f(x: vec4f) -> vec4f {
    let a = abs(x);
    let c = min(a, vec4f(1e9));
    let y = log1p_f(c + c * c / (1.0 + sqrt(fma(c, c, vec4f(1.0)))));
    return copy_sign(select(select(y, log_f(a) + 0.6931472, a > vec4f(1e9)), x, is_nan(x)), x);
}

fn acosh_f(x: vec4f) -> vec4f {
    let t = clamp(x - 1.0, vec4f(), vec4f(1e9));
    let y = log1p_f(t + sqrt(t * (t + 2.0)));
    return select(select(y, log_f(x) + 0.6931472, x > vec4f(1e9)), not_a_number(), (x < vec4f(1.0)) | is_nan(x));
}

fn atanh_f(x: vec4f) -> vec4f {
    let a = abs(x);
    let y = select(0.5 * log1p_f(2.0 * a / (1.0 - a)), infinity(), a == vec4f(1.0));
    return select(copy_sign(y, x), not_a_number(), (a > vec4f(1.0)) | is_nan(x));
}

fn elu_f(x: vec4f, alpha: f32) -> vec4f { return select(x, alpha * expm1_f(min(x, vec4f())), x < vec4f()); }
fn celu_f(x: vec4f, alpha: f32) -> vec4f {
    // With alpha below 0 both terms of ONNX's sum may count.
    return select(max(x, vec4f()) + min(alpha * expm1_f(min(x / alpha, vec4f(80.0))), vec4f()), x, is_nan(x));
}
fn softplus_f(x: vec4f) -> vec4f { return relu_f(x) + log1p_f(exp_f(-abs(x))); }

/// x tanh(ln(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); for large x that is x.
fn mish_f(x: vec4f) -> vec4f {
    let w = exp_f(min(x, vec4f(30.0)));
    let n = w * (w + 2.0);
    return select(x * (n / (n + 2.0)), x, (x > vec4f(30.0)) | is_nan(x));
}

/// Rounds to the nearest f16, ties to even; the result stays f32.
fn round_f16(x: vec4f) -> vec4f {
    let bits = bitcast<vec4u>(x) & vec4u(0x7fffffffu);
    let odd = (bits >> vec4u(13u)) & vec4u(1u);
    let normal = bitcast<vec4f>((bits + vec4u(0xfffu) + odd) & vec4u(0xffffe000u));
    // Below 2^-14 the numbers of f16 are multiples of 2^-24.
    let small = round(abs(x) * 16777216.0) * 5.9604645e-8;
    let y = select(select(normal, small, bits < vec4u(0x38800000u)), infinity(), bits >= vec4u(0x477ff000u));
    return select(copy_sign(y, x), x, is_nan(x));
}

/// Truncates toward zero; NaN gives 0 and what is too large the largest.
fn to_i32(x: vec4f) -> vec4i {
    return select(vec4i(clamp(x, vec4f(-2147483648.0), vec4f(2147483520.0))), vec4i(), is_nan(x));
}

/// Truncates toward zero; negative numbers wrap.
fn to_u32(x: vec4f) -> vec4u {
    let y = select(vec4u(clamp(x, vec4f(), vec4f(4294967040.0))), bitcast<vec4u>(to_i32(x)), x < vec4f());
    return select(y, vec4u(), is_nan(x));
}
