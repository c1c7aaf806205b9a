//! A[k, m] with m contiguous (a transposed left matrix), in vec4.
//! Set:   K_TAIL (k is not a multiple of 4)
//! Slots: a_vec  a_base  a_block
//#use block44
//#use gemm_size
//#param a_ld: u32
//#param a_step: u32
/// Neighbouring threads of a workgroup read along m.
const A_ALONG_K = false;
alias AStart = u32;
alias AQuad = vec4<u32>;
fn a_start(m4: u32, z: u32) -> AStart { return a_base(z) / 4u + min(m4, p.m / 4u - 1u); }
fn a_quad(start: AStart, block: u32) -> AQuad { return vec4<u32>(start + a_block(block) * p.a_step / 4u); }
fn a_at(at: u32, k: u32) -> vec4<Elem> {
    let row = select(k, min(k, p.k - 1u), K_TAIL);
    return select(a_vec(at + row * (p.a_ld / 4u)), vec4<Elem>(), K_TAIL && k >= p.k);
}
fn load_a44(at: AQuad, k4: u32) -> Block44 {
    let k = 4u * k4;
    return Block44(a_at(at.x, k), a_at(at.x, k + 1u), a_at(at.x, k + 2u), a_at(at.x, k + 3u));
}
