//! Unsigned integers as integers of the same order, turned around with MIN. T = u32, Acc = i32.
//! Set: MIN
fn order(v: L) -> V {
    let place = bitcast<V>(v ^ L(0x80000000u));
    if MIN { return ~place; }
    return place;
}
