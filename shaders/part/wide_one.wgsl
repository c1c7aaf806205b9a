//! One unit at a time, where their number is no multiple of four.
alias L = f32;
fn wide(x: L) -> vec4f { return vec4f(x); }
fn slim(x: vec4f) -> L { return x.x; }
