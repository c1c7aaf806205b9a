//! The outer k loop of a product with a sparse A: the stored blocks of the tile's rows, which lie in one row of blocks.
//#use bsr_index
fn k_blocks(m0: u32, n0: u32, z: u32) -> vec2<u32> { return stored_blocks(m0); }
fn a_block(block: u32) -> u32 { return block; }
fn b_block(block: u32, z: u32) -> u32 { return col_idx[block]; }
