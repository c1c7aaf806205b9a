//! Every workgroup goes along all of a k block.
//#use gemm_size
/// The first step of four along k, and the one past the last.
fn k_steps(z: u32) -> vec2<u32> { return vec2<u32>(0u, p.k4); }
