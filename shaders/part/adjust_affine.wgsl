//! Normalised elements times a scale of their position in the row, plus a bias.
@group(0) @binding(SCALE) var<storage, read> scale: array<L>;
@group(0) @binding(BIAS) var<storage, read> bias: array<L>;
fn adjust(v: V, w: Walk, k: u32) -> L { return v * scale[k] + bias[k]; }
