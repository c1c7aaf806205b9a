//! Scale and bias of channels as inputs.
@group(0) @binding(SCALE) var<storage, read> scale: array<f32>;
@group(0) @binding(BIAS) var<storage, read> bias: array<f32>;
fn channel_scale(c: u32) -> vec2<f32> { return vec2<f32>(scale[c], bias[c]); }
