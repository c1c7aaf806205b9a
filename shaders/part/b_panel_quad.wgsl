//! Constant B, packed on the host in panels of 4 * PANEL columns: [panel][k block][4 * k4][4 * PANEL], zeros as padding.
//! b_ld counts the rows of a panel, over all k blocks.
//! Set:   PANEL (vec4 columns of a panel)
//! Slots: b_base  b_block
//#use block44
//#use gemm_size
//#param b_ld: u32
const B_ALONG_K = false;
fn b_quad(n4: u32, block: u32, z: u32) -> vec4<u32> {
    let n = min(n4, p.n4 - 1u);
    return vec4<u32>(b_base(z) / 4u + (n / PANEL * p.b_ld + b_block(block, z) * 4u * p.k4) * PANEL + n % PANEL);
}
