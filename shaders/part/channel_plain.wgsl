//! Channels are not scaled.
fn channel_scale(c: u32) -> vec2<f32> { return vec2<f32>(1.0, 0.0); }
