//! Four neighbouring units at a time.
alias L = vec4<f32>;
fn wide(x: L) -> vec4f { return x; }
fn slim(x: vec4f) -> L { return x; }
