//! Padding of an 8-bit input is its zero point, in an i32 on the device.
//! Slots: a_flip
@group(0) @binding(PAD) var<storage, read> pad: array<i32>;
fn a_zero() -> u32 { return ((bitcast<u32>(pad[0]) & 0xffu) * 0x01010101u) ^ p.a_flip; }
