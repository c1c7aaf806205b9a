//! A[m, k] with k contiguous, in vec4. k blocks lie a_step elements apart.
//! Slots: a_vec  a_base  a_block
//#use block44
//#use gemm_size
//#param a_ld: u32
//#param a_step: u32
/// Neighbouring threads of a workgroup read along k.
const A_ALONG_K = true;
alias AStart = vec4<u32>;
alias AQuad = vec4<u32>;
fn a_start(m4: u32, z: u32) -> AStart { return (a_base(z) + four_inside(m4, p.m) * p.a_ld) / 4u; }
fn a_quad(start: AStart, block: u32) -> AQuad { return start + a_block(block) * p.a_step / 4u; }
fn load_a44(at: AQuad, k4: u32) -> Block44 {
    return transpose44(a_vec(at.x + k4), a_vec(at.y + k4), a_vec(at.z + k4), a_vec(at.w + k4));
}
