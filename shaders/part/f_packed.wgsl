//! A depthwise filter packed as F[tap, channel], channels padded to a multiple of 4.
//! Slots: b_vec
fn f_four(tap: u32, c4: u32) -> vec4<Elem> { return b_vec(tap * p.n4 + c4); }
