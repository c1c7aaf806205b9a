//! Floats as integers in the order of numbers: equal zeros, a NaN above all. With MIN the order is turned around, and a
//! NaN is still above all. Acc = i32. Bits are compared because shaders may assume that there is no NaN.
//! Set: MIN
fn order(v: L) -> V {
    let bits = bitcast<V>(F(v));
    // Negative numbers grow downwards; those of sign and magnitude have their magnitude's bits flipped.
    var place = bits ^ ((bits >> U(31u)) & V(0x7fffffff));
    place = select(place, V(0), place == V(-1));
    if MIN { place = ~place; }
    return select(place, V(0x7fffffff), (bits & V(0x7fffffff)) > V(0x7f800000));
}

/// The float of a place.
fn unordered(place: V) -> F {
    var bits = place;
    if MIN { bits = ~bits; }
    // The place of a NaN is that of no number in either order.
    bits = bits ^ ((bits >> U(31u)) & V(0x7fffffff));
    return bitcast<F>(select(bits, V(0x7fc00000), place == V(0x7fffffff)));
}
