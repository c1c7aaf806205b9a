//! Statistics of channels as inputs.
@group(0) @binding(MEAN) var<storage, read> mean: array<f32>;
@group(0) @binding(VARIANCE) var<storage, read> variance: array<f32>;
fn channel_stats(c: u32) -> Stats { return Stats(mean[c], variance[c]); }
