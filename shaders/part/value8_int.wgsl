//! The exact i32 result.
fn value8(v: vec4<i32>, scale: vec4<f32>) -> vec4<i32> { return v; }
