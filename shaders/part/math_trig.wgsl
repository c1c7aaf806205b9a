//! Sine, cosine, tangent with range reduction for every f32, and their inverses. Coefficients are minimax fits.
//#use math

/// An angle less a multiple n of a quarter turn.
struct Angle { r: vec4f, n: vec4u }

/// The high word of a product.
fn mul_high(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let x = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let y = (a & 0xffffu) * (b >> 16u) + (x & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (x >> 16u) + (y >> 16u);
}

/// Payne and Hanek, for x >= 1: the product of x's 24 bits with 96 bits of 2/pi, of which those that count whole turns are
/// left out. Gives n in the first component and the bits of r in the second.
fn reduce_large(x: f32) -> vec2u {
    // A zero word, then 2/pi.
    var words = array<u32, 8>(0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu);
    let bits = bitcast<u32>(x);
    let m = ((bits & 0x7fffffu) | 0x800000u) << 8u;
    // x = m 2^(e - 31). The first bit taken, at `at`, has weight 2 in units of a quarter turn.
    let at = clamp((bits >> 23u) & 255u, 128u, 254u) - 128u;
    let i = at / 32u;
    let s = at % 32u;
    let a = (words[i] << s) | ((words[i + 1u] >> 1u) >> (31u - s));
    let b = (words[i + 1u] << s) | ((words[i + 2u] >> 1u) >> (31u - s));
    let c = (words[i + 2u] << s) | ((words[i + 3u] >> 1u) >> (31u - s));
    let low = m * b + mul_high(m, c);
    let high = m * a + mul_high(m, b) + select(0u, 1u, low < m * b);
    // Two bits of quarter turns, then the fraction; a fraction over a half counts as negative.
    let f = bitcast<i32>((high << 2u) | (low >> 30u));
    let n = (high >> 30u) + select(0u, 1u, f < 0);
    let fraction = f32(f) + f32(low << 2u) * 2.3283064e-10;
    return vec2u(n & 3u, bitcast<u32>(fraction * 3.6572952e-10));
}

fn reduce(x: vec4f) -> Angle {
    let a = abs(x);
    // pi/2 in three parts, the first two of 11 bits: exact products for n below 2^13. Each has a factor of its own, n, 2 n,
    // 4 n, so that they are not added up first.
    let n = round(a * 0.63661975);
    var q = vec4u(n);
    let rough = fma(vec4f(q << vec4u(1u)), vec4f(-2.41875648498535e-4), fma(n, vec4f(-1.5703125), a));
    var r = fma(vec4f(q << vec4u(2u)), vec4f(-1.88744751e-8), rough);
    if any(a > vec4f(8192.0)) {
        let large = a > vec4f(8192.0);
        let l0 = reduce_large(a.x);
        let l1 = reduce_large(a.y);
        let l2 = reduce_large(a.z);
        let l3 = reduce_large(a.w);
        r = select(r, bitcast<vec4f>(vec4u(l0.y, l1.y, l2.y, l3.y)), large);
        q = select(q, vec4u(l0.x, l1.x, l2.x, l3.x), large);
    }
    // Infinities have no angle.
    return Angle(select(r, not_a_number(), bitcast<vec4u>(a) >= vec4u(0x7f800000u)), q);
}

fn sin_near_zero(r: vec4f) -> vec4f {
    let s = r * r;
    let t = fma(s, fma(s, vec4f(-1.9587357e-4), vec4f(8.332745e-3)), vec4f(-0.16666664));
    return fma(s * r, t, r);
}

fn cos_near_zero(r: vec4f) -> vec4f {
    let s = r * r;
    let t = fma(s, fma(s, vec4f(2.45476e-5), vec4f(-1.3888301e-3)), vec4f(4.1666664e-2));
    return 1.0 - fma(s * s, -t, 0.5 * s);
}

/// sin(r + n pi/2).
fn sin_quarter(r: vec4f, n: vec4u) -> vec4f {
    let y = select(sin_near_zero(r), cos_near_zero(r), (n & vec4u(1u)) == vec4u(1u));
    return select(y, -y, (n & vec4u(2u)) == vec4u(2u));
}

fn sin_f(x: vec4f) -> vec4f {
    let angle = reduce(x);
    let y = sin_quarter(angle.r, angle.n);
    return select(y, -y, x < vec4f());
}

fn cos_f(x: vec4f) -> vec4f {
    let angle = reduce(x);
    return sin_quarter(angle.r, angle.n + vec4u(1u));
}

fn tan_f(x: vec4f) -> vec4f {
    let angle = reduce(x);
    let y = sin_quarter(angle.r, angle.n) / sin_quarter(angle.r, angle.n + vec4u(1u));
    return select(y, -y, x < vec4f());
}

/// asin(x) for x in 0..0.5.
fn asin_near_zero(x: vec4f) -> vec4f {
    let s = x * x;
    var t = fma(s, vec4f(3.3798523e-2), vec4f(1.7082466e-2));
    t = fma(s, t, vec4f(3.1115118e-2));
    t = fma(s, t, vec4f(4.459813e-2));
    t = fma(s, t, vec4f(7.500099e-2));
    t = fma(s, t, vec4f(0.16666666));
    return fma(s * x, t, x);
}

/// asin(|x|) and acos(|x|): of the two, the one that is not near pi/2 is made first.
fn asin_f(x: vec4f) -> vec4f {
    let a = abs(x);
    let far = 1.5707964 - 2.0 * asin_near_zero(sqrt(max(0.5 - 0.5 * a, vec4f())));
    let y = copy_sign(select(asin_near_zero(a), far, a > vec4f(0.5)), x);
    return select(y, not_a_number(), (a > vec4f(1.0)) | is_nan(x));
}

fn acos_f(x: vec4f) -> vec4f {
    let a = abs(x);
    let far = 2.0 * asin_near_zero(sqrt(max(0.5 - 0.5 * a, vec4f())));
    let near = 1.5707964 - copy_sign(asin_near_zero(a), x);
    let y = select(near, select(far, 3.1415927 - far, x < vec4f()), a > vec4f(0.5));
    return select(y, not_a_number(), (a > vec4f(1.0)) | is_nan(x));
}

fn atan_f(x: vec4f) -> vec4f {
    let a = abs(x);
    let far = a > vec4f(2.4142137);
    let middle = a > vec4f(0.41421357);
    let c = select(select(a, (a - 1.0) / (a + 1.0), middle), -1.0 / a, far);
    let s = c * c;
    var t = fma(s, vec4f(-6.456482e-2), vec4f(0.10745312));
    t = fma(s, t, vec4f(-0.14264128));
    t = fma(s, t, vec4f(0.19999547));
    t = fma(s, t, vec4f(-0.3333333));
    let start = select(select(vec4f(), vec4f(0.7853982), middle), vec4f(1.5707964), far);
    let y = select(start + fma(s * c, t, c), vec4f(1.5707964), is_inf(a, false, true));
    return select(copy_sign(y, x), x, is_nan(x));
}
