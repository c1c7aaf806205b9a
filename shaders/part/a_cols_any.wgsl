//! A[k, m] with m contiguous (a transposed left matrix) and any sizes and strides: single loads, zero past the end of k.
//! Slots: a_one  a_base  a_block
//#use block44
//#use gemm_size
//#param a_ld: u32
//#param a_step: u32
const A_ALONG_K = false;
alias AStart = vec4<u32>;
alias AQuad = vec4<u32>;
fn a_start(m4: u32, z: u32) -> AStart { return a_base(z) + four_inside(m4, p.m); }
fn a_quad(start: AStart, block: u32) -> AQuad { return start + a_block(block) * p.a_step; }
fn a_at(at: vec4<u32>, k: u32) -> vec4<Elem> {
    let i = at + min(k, p.k - 1u) * p.a_ld;
    return select(vec4<Elem>(), vec4<Elem>(a_one(i.x), a_one(i.y), a_one(i.z), a_one(i.w)), k < p.k);
}
fn load_a44(at: AQuad, k4: u32) -> Block44 {
    let k = 4u * k4;
    return Block44(a_at(at, k), a_at(at, k + 1u), a_at(at, k + 2u), a_at(at, k + 3u));
}
