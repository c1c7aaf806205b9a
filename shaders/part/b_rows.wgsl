//! B[k, n] with n contiguous, in vec4.
//! Set:   K_TAIL (k is not a multiple of 4)
//! Slots: b_vec  b_base  b_block
//#use block44
//#use gemm_size
//#param b_ld: u32
//#param b_step: u32
/// Neighbouring threads of a workgroup read along n.
const B_ALONG_K = false;
fn b_quad(n4: u32, block: u32, z: u32) -> vec4<u32> {
    return vec4<u32>(b_base(z) / 4u + b_block(block, z) * p.b_step / 4u + min(n4, p.n4 - 1u));
}
fn b_at(at: u32, k: u32) -> vec4<Elem> {
    let row = select(k, min(k, p.k - 1u), K_TAIL);
    return select(b_vec(at + row * (p.b_ld / 4u)), vec4<Elem>(), K_TAIL && k >= p.k);
}
fn load_b44(at: vec4<u32>, k4: u32) -> Block44 {
    let k = 4u * k4;
    return Block44(b_at(at.x, k), b_at(at.x, k + 1u), b_at(at.x, k + 2u), b_at(at.x, k + 3u));
}
