//! B[n, k] with k contiguous (a transposed right matrix) and any sizes and strides: single loads, zero past the end of k.
//! Slots: b_one  b_base  b_block
//#use block44
//#use gemm_size
//#param b_ld: u32
//#param b_step: u32
const B_ALONG_K = true;
fn b_quad(n4: u32, block: u32, z: u32) -> vec4<u32> {
    return b_base(z) + four_inside(n4, p.n) * p.b_ld + b_block(block, z) * p.b_step;
}
fn b_at(at: vec4<u32>, k: u32) -> vec4<Elem> {
    let i = at + min(k, p.k - 1u);
    return select(vec4<Elem>(), vec4<Elem>(b_one(i.x), b_one(i.y), b_one(i.z), b_one(i.w)), k < p.k);
}
fn load_b44(at: vec4<u32>, k4: u32) -> Block44 {
    let k = 4u * k4;
    return Block44(b_at(at, k), b_at(at, k + 1u), b_at(at, k + 2u), b_at(at, k + 3u));
}
