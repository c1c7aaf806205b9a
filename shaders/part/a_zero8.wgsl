//! Padding of an 8-bit input is its zero point: a word of four, known on the host.
//#param a_pad: u32
fn a_zero() -> u32 { return p.a_pad; }
