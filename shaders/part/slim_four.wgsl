//! All four numbers of a function of `math`.
fn slim(x: vec4f) -> vec4f { return x; }
