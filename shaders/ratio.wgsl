//! Ratio of two sums: y = pair[0] / pair[1].
@group(0) @binding(PAIR) var<storage, read> pair: array<f32>;
@group(0) @binding(Y) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(1)
fn main() { y[0] = pair[0] / pair[1]; }
