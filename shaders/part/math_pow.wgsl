//! Powers and remainders of f32.
//#use math

/// The first 12 bits, so that products of two such numbers are exact.
fn head(x: vec4f) -> vec4f { return bitcast<vec4f>(bitcast<vec4u>(x) & vec4u(0xfffff000u)); }

/// 2^(a + b) for b below 0.1, unless a alone makes it 0 or infinite.
fn exp2_sum(a: vec4f, b: vec4f) -> vec4f {
    let c = clamp(a, vec4f(-151.0), vec4f(129.0));
    let n = round(c);
    let half = floor(n * 0.5);
    let r = select((c - n) + b, vec4f(), c != a);
    return (1.0 + expm1_near_zero(r * 0.6931472)) * pow2(half) * pow2(n - half);
}

/// |x|^y for finite x other than 0, by log2 |x| in two parts, of 36 bits together: an error of it counts y times.
///
/// log2 m = 2 / (3 ln 2) s (3 + s^2 + s^4 L(s^2)) with s = (m - 1) / (m + 1), m in 0.707..1.414.
fn pow_size(x: vec4f, y: vec4f) -> vec4f {
    let a = abs(x);
    let tiny = a < vec4f(1.17549435e-38);
    let bits = bitcast<vec4u>(select(a, a * 8388608.0, tiny));
    let e = bitcast<vec4i>(bits - vec4u(0x3f3504f3u)) >> vec4u(23u);
    let m = bitcast<vec4f>(bits - (bitcast<vec4u>(e) << vec4u(23u)));
    let n = vec4f(e) - select(vec4f(), vec4f(23.0), tiny);

    let f = m - 1.0;
    let v = 1.0 / (m + 1.0);
    let s = f * v;
    let sh = head(s);
    let dh = head(m + 1.0);
    let dl = (1.0 - dh) + m;
    let sl = v * ((f - sh * dh) - sh * dl);

    let s2 = s * s;
    let poly = fma(s2, fma(s2, fma(s2, vec4f(0.2868627), vec4f(0.33306864)), vec4f(0.428573)), vec4f(0.6));
    let r = fma(s2 * s2, poly, sl * (sh + s));
    let sh2 = sh * sh;
    let th = head(3.0 + sh2 + r);
    let tl = r - ((th - 3.0) - sh2);
    let u = sh * th;
    let w = sl * th + tl * s;
    let ph = head(u + w);
    let pl = w - (ph - u);
    let zh = 0.961669921875 * ph;
    let zl = 1.2677205e-4 * ph + pl * 0.9617967;
    let lh = head((zh + zl) + n);
    let ll = zl - ((lh - n) - zh);

    // Past these the power is 0 or infinite whatever x is, but for 1.
    let c = clamp(y, vec4f(-3e9), vec4f(3e9));
    let ch = head(c);
    return exp2_sum(ch * lh, (c - ch) * lh + c * ll);
}

/// IEEE 754's pow: also for negative x where y is whole; 1 for y = 0 and for x = 1 even against NaN.
fn pow_f(x: vec4f, y: vec4f) -> vec4f {
    let whole = floor(y) == y;
    // Every f32 from 2^24 on is even.
    let odd = whole & (abs(y) < vec4f(16777216.0)) & (floor(y * 0.5) != y * 0.5);
    let zero = x == vec4f();
    let infinite = is_inf(x, true, true);
    var size = pow_size(select(x, vec4f(2.0), zero | infinite), y);
    let up = (y > vec4f()) == infinite;
    size = select(size, select(vec4f(), infinity(), up), zero | infinite);
    size = select(size, vec4f(1.0), is_inf(y, true, true) & (abs(x) == vec4f(1.0)));
    let negative = (bitcast<vec4u>(x) >> vec4u(31u)) == vec4u(1u);
    var result = select(size, -size, negative & odd);
    result = select(result, not_a_number(), (x < vec4f()) & !infinite & !whole);
    result = select(result, not_a_number(), is_nan(x) | is_nan(y));
    return select(result, vec4f(1.0), (y == vec4f()) | (x == vec4f(1.0)));
}

/// The exact remainder of sizes x and y, by long division of the mantissas, 8 bits a step.
fn remainder(x: f32, y: f32) -> f32 {
    let bx = bitcast<u32>(x);
    let by = bitcast<u32>(y);
    if by == 0u || bx >= 0x7f800000u || by > 0x7f800000u { return not_a_number().x; }
    if bx < by { return x; }
    let ex = max(bx >> 23u, 1u);
    let ey = max(by >> 23u, 1u);
    var m = select((bx & 0x7fffffu) | 0x800000u, bx, bx < 0x800000u);
    let d = select((by & 0x7fffffu) | 0x800000u, by, by < 0x800000u);
    m = m % d;
    for (var left = ex - ey; left > 0u && m != 0u; left -= min(left, 8u)) {
        m = (m << min(left, 8u)) % d;
    }
    // m 2^(ey - 150), exact since m < d.
    let scale = i32(ey) - 150;
    let half = scale / 2;
    let first = bitcast<f32>(u32(half + 127) << 23u);
    let second = bitcast<f32>(u32(scale - half + 127) << 23u);
    return f32(m) * first * second;
}

fn mod_f(x: vec4f, y: vec4f, truncate: bool) -> vec4f {
    let a = abs(x);
    let b = abs(y);
    let size = vec4f(remainder(a.x, b.x), remainder(a.y, b.y), remainder(a.z, b.z), remainder(a.w, b.w));
    if truncate { return copy_sign(size, x); }
    let signs = (bitcast<vec4u>(x) ^ bitcast<vec4u>(y)) >> vec4u(31u);
    // Of opposite signs: what is left to the next multiple. An infinite divisor is that multiple.
    let rest = select(select(b - size, b, b > vec4f(3.4028234e38)), vec4f(), size == vec4f());
    let y_signed = copy_sign(select(size, rest, signs == vec4u(1u)), y);
    return select(y_signed, size, is_nan(size));
}
