//! Biases [directions, 2 gates, hidden]: those of the input, then those of the recurrence.
@group(0) @binding(BIAS) var<storage, read> bias: array<L>;
fn input_bias(c: Cell, gate: u32) -> vec4f { return wide(bias[(2u * GATES * c.d + gate) * p.hidden + c.u]); }
fn recur_bias(c: Cell, gate: u32) -> vec4f { return wide(bias[(2u * GATES * c.d + GATES + gate) * p.hidden + c.u]); }
