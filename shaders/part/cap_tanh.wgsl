//! Scores within -cap..cap.
//#use math
//#param cap: f32
fn capped(x: vec4f) -> vec4f { return p.cap * tanh_f(x / p.cap); }
