//! Peepholes [directions, 3, hidden] of an LSTM: of the input, output and forget gates.
@group(0) @binding(PEEPHOLES) var<storage, read> peepholes: array<L>;
fn peephole(c: Cell, gate: u32, x: vec4f) -> vec4f { return x * wide(peepholes[(3u * c.d + gate) * p.hidden + c.u]); }
