//! Functions of integers. A division by zero gives 0.

fn sign_i32(x: vec4i) -> vec4i { return clamp(x, vec4i(-1), vec4i(1)); }
fn sign_u32(x: vec4u) -> vec4u { return min(x, vec4u(1u)); }
fn prelu_i32(x: vec4i, slope: vec4i) -> vec4i { return select(x, slope * x, x < vec4i()); }
fn prelu_u32(x: vec4u, slope: vec4u) -> vec4u { return x; }

fn div_u32(x: vec4u, y: vec4u) -> vec4u {
    let zero = y == vec4u();
    return select(x / select(y, vec4u(1u), zero), vec4u(), zero);
}

fn div_i32(x: vec4i, y: vec4i) -> vec4i {
    let zero = y == vec4i();
    // -x wraps where a quotient by -1 would not fit.
    let minus = y == vec4i(-1);
    return select(select(x / select(y, vec4i(1), zero | minus), -x, minus), vec4i(), zero);
}

fn mod_u32(x: vec4u, y: vec4u, truncate: bool) -> vec4u { return select(x - y * div_u32(x, y), vec4u(), y == vec4u()); }

/// The sign of the divisor, or that of the dividend with `truncate`.
fn mod_i32(x: vec4i, y: vec4i, truncate: bool) -> vec4i {
    let r = select(x - y * div_i32(x, y), vec4i(), y == vec4i());
    let other = ((r < vec4i()) != (y < vec4i())) & (r != vec4i()) & vec4<bool>(!truncate);
    return select(r, r + y, other);
}

/// Wraps, which squaring does modulo 2^32.
fn pow_u32(x: vec4u, y: vec4u) -> vec4u {
    var result = vec4u(1u);
    var square = x;
    var left = y;
    while any(left != vec4u()) {
        result = select(result, result * square, (left & vec4u(1u)) == vec4u(1u));
        square *= square;
        left >>= vec4u(1u);
    }
    return result;
}

/// Negative powers are 0 but for bases of size 1.
fn pow_i32(x: vec4i, y: vec4i) -> vec4i {
    let power = bitcast<vec4i>(pow_u32(bitcast<vec4u>(x), bitcast<vec4u>(max(y, vec4i()))));
    let unit = select(vec4i(), select(x, vec4i(1), (y & vec4i(1)) == vec4i()), abs(x) == vec4i(1));
    return select(power, unit, y < vec4i());
}

/// An amount below 0 or from `bits` on shifts everything out.
fn shift_left_u32(x: vec4u, y: vec4u, bits: u32) -> vec4u { return select(x << (y & vec4u(31u)), vec4u(), y >= vec4u(bits)); }
fn shift_right_u32(x: vec4u, y: vec4u, bits: u32) -> vec4u { return select(x >> (y & vec4u(31u)), vec4u(), y >= vec4u(bits)); }
fn shift_left_i32(x: vec4i, y: vec4i, bits: i32) -> vec4i {
    let out = (y < vec4i()) | (y >= vec4i(bits));
    return select(x << (bitcast<vec4u>(y) & vec4u(31u)), vec4i(), out);
}
fn shift_right_i32(x: vec4i, y: vec4i, bits: i32) -> vec4i {
    let out = (y < vec4i()) | (y >= vec4i(min(bits, 32)));
    return x >> select(bitcast<vec4u>(y) & vec4u(31u), vec4u(31u), out);
}
