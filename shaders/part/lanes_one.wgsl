//! The scalars of element `i`: one.
fn lanes(i: u32) -> u32 { return i; }
