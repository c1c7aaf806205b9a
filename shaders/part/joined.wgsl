//! The components of a vector load, combined in a fixed order.
//! Slots: combine turn
/// Every component holds what all of them make together.
fn joined(a: A) -> A {
    if WIDTH == 1u { return a; }
    let pairs = combine(a, turn(a));
    return combine(pairs, turn(turn(pairs)));
}
