//! Four neighbouring units at a time.
//#use slim_four
alias L = vec4<f32>;
fn wide(x: L) -> vec4f { return x; }
