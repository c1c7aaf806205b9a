//! Four consecutive elements of A that begin at a multiple of 4.
//! Slots: a_vec
fn a_four(at: u32) -> vec4<Elem> { return a_vec(at / 4u); }
