//! One unit at a time, where their number is no multiple of four.
//#use slim_one
alias L = f32;
fn wide(x: L) -> vec4f { return vec4f(x); }
