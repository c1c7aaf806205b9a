//! The position of the largest (with MIN: smallest) element, the first or last of equal ones. Acc = Out = i32.
//! Set: LAST  Slots: order
//#need LAST
struct A { place: V, at: U }

/// Every element beats it.
fn start() -> A { return A(V(-2147483647i - 1i), U(select(0xffffffffu, 0u, LAST))); }

fn before(v: L, k: u32) -> A { return A(order(v), positions(k)); }

fn combine(a: A, b: A) -> A {
    let tie = a.place == b.place;
    var other = b.place > a.place;
    if LAST { other = other | (tie & (b.at > a.at)); } else { other = other | (tie & (b.at < a.at)); }
    return A(select(a.place, b.place, other), select(a.at, b.at, other));
}

fn turn(a: A) -> A { return A(rotate(a.place), rotate_u(a.at)); }

fn after(a: A) -> R { return bitcast<R>(a.at); }
