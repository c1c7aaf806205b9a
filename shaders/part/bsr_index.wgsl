//! Rows of stored blocks of a sparse constant operand (BSR). They bound a loop that holds barriers, so they lie in buffers of their
//! own that are never written.
/// Rows of a block.
//#param block_rows: u32
@group(0) @binding(ROW_PTR) var<storage, read> row_ptr: array<u32>;
@group(0) @binding(COL_IDX) var<storage, read> col_idx: array<u32>;
const ONE_BLOCK = false;
fn stored_blocks(row: u32) -> vec2<u32> {
    let at = row / p.block_rows;
    return vec2<u32>(row_ptr[at], row_ptr[at + 1u]);
}
