//! The outer k loop of a dense product: one block, the whole k axis of both operands.
const ONE_BLOCK = true;
fn k_blocks(m0: u32, n0: u32, z: u32) -> vec2<u32> { return vec2<u32>(0u, 1u); }
fn a_block(block: u32) -> u32 { return 0u; }
fn b_block(block: u32, z: u32) -> u32 { return 0u; }
