//! Normalised elements times a scale of their position in the row, plus a bias.
//! Set: ScaleL (f32 or f16, as many as V)
//#need ScaleL
@group(0) @binding(SCALE) var<storage, read> scale: array<ScaleL>;
@group(0) @binding(BIAS) var<storage, read> bias: array<ScaleL>;
fn adjust(v: V, w: Walk, k: u32) -> V { return v * V(scale[k]) + V(bias[k]); }
