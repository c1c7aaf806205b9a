//! The plain recurrent layer.
fn next(c: Cell) -> L { return slim(f0(gate(c, 0u))); }
