//! acc + a * b in f32.
alias Spread = f32;
fn spread(a: f32) -> f32 { return a; }
fn mac(acc: vec4<f32>, a: f32, b: vec4<f32>) -> vec4<f32> { return fma(vec4<f32>(a), b, acc); }
