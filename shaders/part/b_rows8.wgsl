//! B[k, n] of 8-bit integers with n contiguous: words hold four columns and are turned into words of four k. b_ld counts words.
//! Slots: b_one  b_base
//#use block44
//#use gemm_size
//#param b_ld: u32
/// k in single integers.
//#param b_k: u32
const B_ALONG_K = false;
fn b_quad(n4: u32, block: u32, z: u32) -> vec4<u32> { return vec4<u32>(b_base(z) + min(n4, p.n4 - 1u)); }
/// Four columns of row k, zero past the end.
fn b_four(at: u32, k: u32) -> vec4<u32> {
    return select(vec4<u32>(), unpack4xU8(b_one(at + min(k, p.b_k - 1u) * p.b_ld)), k < p.b_k);
}
fn b_word(at: u32, k: u32) -> vec4<u32> {
    let low = b_four(at, k) | (b_four(at, k + 1u) << vec4<u32>(8u));
    return low | (b_four(at, k + 2u) << vec4<u32>(16u)) | (b_four(at, k + 3u) << vec4<u32>(24u));
}
fn load_b44(at: vec4<u32>, k4: u32) -> Block44 {
    let k = 16u * k4;
    return Block44(b_word(at.x, k), b_word(at.x, k + 4u), b_word(at.x, k + 8u), b_word(at.x, k + 12u));
}
