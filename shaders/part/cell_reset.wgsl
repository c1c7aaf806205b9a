//! The state of a GRU times its reset gate, for the next product.
@group(0) @binding(RESET) var<storage, read_write> reset: array<L>;
fn next(c: Cell) -> L { return slim(f0(gate(c, 1u)) * wide(state[c.h])); }
fn put(c: Cell, value: L) { reset[c.k] = value; }
fn put_none(y: u32) {}
