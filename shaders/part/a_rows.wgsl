//! A[m, k] with k contiguous, in vec4. k blocks follow each other in a row.
//! Slots: a_vec  a_base  a_block
//#use block44
//#use gemm_grid
//#param a_ld: u32
/// Neighbouring threads of a workgroup read along k.
const A_ALONG_K = true;
alias AStart = vec4<u32>;
fn a_start(m4: u32, z: u32) -> AStart { return (a_base(z) + four_inside(m4, p.m) * p.a_ld) / 4u; }
fn a_quad(start: AStart, block: u32) -> vec4<u32> { return start + a_block(block) * p.k4; }
fn load_a44(at: vec4<u32>, k4: u32) -> Block44 {
    return transpose44(a_vec(at.x + k4), a_vec(at.y + k4), a_vec(at.z + k4), a_vec(at.w + k4));
}
