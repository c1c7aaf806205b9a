//! The result in f32, times the column's scale.
fn value8(v: vec4<i32>, scale: vec4<f32>) -> vec4<f32> { return vec4<f32>(v) * scale; }
