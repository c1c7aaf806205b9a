//! No biases.
fn input_bias(c: Cell, gate: u32) -> vec4f { return vec4f(); }
fn recur_bias(c: Cell, gate: u32) -> vec4f { return vec4f(); }
