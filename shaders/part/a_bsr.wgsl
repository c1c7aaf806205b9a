//! A in stored blocks of block_rows x k, k contiguous.
//! Slots: a_vec  a_block
//#use block44
//#use gemm_size
//#param block_rows: u32
const A_ALONG_K = true;
alias AStart = vec4<u32>;
alias AQuad = vec4<u32>;
fn a_start(m4: u32, z: u32) -> AStart { return four_inside(m4, p.m) % p.block_rows * p.k4; }
fn a_quad(start: AStart, block: u32) -> AQuad { return start + a_block(block) * p.block_rows * p.k4; }
fn load_a44(at: AQuad, k4: u32) -> Block44 {
    return transpose44(a_vec(at.x + k4), a_vec(at.y + k4), a_vec(at.z + k4), a_vec(at.w + k4));
}
