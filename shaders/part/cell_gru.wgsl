//! GRU whose reset gate came before the product: HELD is (reset h) R_h^T, made by `cell_reset` and GEMM.
@group(0) @binding(HELD) var<storage, read> held: array<L>;
fn next(c: Cell) -> L {
    let update = f0(gate(c, 0u));
    let fresh = f1(from_input(c, 2u) + wide(held[c.k]) + recur_bias(c, 2u));
    return slim((1.0 - update) * fresh + update * wide(state[c.h]));
}
