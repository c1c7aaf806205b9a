//! Integers in their order, turned around with MIN. T = Acc = i32.
//! Set: MIN
fn order(v: L) -> V {
    if MIN { return ~v; }
    return v;
}
