//! GRU whose reset gate comes after the product.
fn next(c: Cell) -> L {
    let update = f0(gate(c, 0u));
    let fresh = f1(from_input(c, 2u) + f0(gate(c, 1u)) * from_state(c, 2u));
    return slim((1.0 - update) * fresh + update * wide(state[c.h]));
}
