//! Transposed B in stored blocks, each turned on the host into k x block_rows, so that n is contiguous.
//! Slots: b_vec  b_block
//#use block44
//#use gemm_size
//#param block_rows: u32
const B_ALONG_K = false;
fn b_quad(n4: u32, block: u32, z: u32) -> vec4<u32> {
    let wide = p.block_rows / 4u;
    return vec4<u32>(b_block(block, z) * p.k * wide + min(n4, p.n4 - 1u) % wide);
}
fn load_b44(quad: vec4<u32>, k4: u32) -> Block44 {
    let wide = p.block_rows / 4u;
    let at = quad.x + 4u * k4 * wide;
    return Block44(b_vec(at), b_vec(at + wide), b_vec(at + 2u * wide), b_vec(at + 3u * wide));
}
