//! Powers of e, as weights of a softmax are made of. Drivers may clamp the exponent, which loses NaN and makes something of
//! -inf, and give any logarithm of 0.
//! Slots: V (f32 or vec4<f32>)  U (u32 as wide)

/// y, but x where that is NaN.
fn or_nan(y: V, x: V) -> V { return select(y, x, (bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u)); }

/// Constants may not be infinite or NaN; what a variable's bits mean may.
fn special(bits: u32) -> V {
    var all = U(bits);
    return bitcast<V>(all);
}

/// e^d for d <= 0.
fn power(d: V) -> V { return or_nan(select(exp(d), V(0.0), d < V(-104.0)), d); }

/// ln s of a sum of powers: -inf of 0, NaN of NaN.
fn logarithm(s: V) -> V { return or_nan(select(log(s), special(0xff800000u), s == V(0.0)), s); }
