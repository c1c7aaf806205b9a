//! From the four numbers of a function of `math` to the one that was asked for.
fn slim(x: vec4f) -> f32 { return x.x; }
