//! acc + a * b in f32.
fn mac(acc: vec4<f32>, a: f32, b: vec4<f32>) -> vec4<f32> { return fma(vec4<f32>(a), b, acc); }
