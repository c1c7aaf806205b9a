//! The outer k loop of a convolution: kernel positions ("taps"), or kernel rows.
//#param taps: u32
const ONE_BLOCK = false;
fn k_blocks(m0: u32, n0: u32, z: u32) -> vec2<u32> { return vec2<u32>(0u, p.taps); }
fn a_block(block: u32) -> u32 { return block; }
fn b_block(block: u32, z: u32) -> u32 { return block; }
