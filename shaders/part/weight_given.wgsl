//! A weight for each class.
@group(0) @binding(WEIGHTS) var<storage, read> weights: array<f32>;
fn weight_of(class_id: u32) -> f32 { return weights[class_id]; }
