//! B[n, k] with k contiguous (a transposed right matrix; OHWI filters), in vec4. k blocks lie b_step elements apart.
//! Slots: b_vec  b_base  b_block
//#use block44
//#use gemm_size
//#param b_ld: u32
//#param b_step: u32
/// Neighbouring threads of a workgroup read along k.
const B_ALONG_K = true;
fn b_quad(n4: u32, block: u32, z: u32) -> vec4<u32> {
    return (b_base(z) + four_inside(n4, p.n) * p.b_ld + b_block(block, z) * p.b_step) / 4u;
}
fn load_b44(at: vec4<u32>, k4: u32) -> Block44 {
    return transpose44(b_vec(at.x + k4), b_vec(at.y + k4), b_vec(at.z + k4), b_vec(at.w + k4));
}
