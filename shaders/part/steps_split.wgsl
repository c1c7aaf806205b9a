//! Split-K: the innermost batch axis counts parts of k, each of `steps_split` steps of four; the last may be shorter.
//#use gemm_size
//#param steps_split: u32
//#param steps_parts: u32
fn k_steps(z: u32) -> vec2<u32> {
    let first = z % p.steps_parts * p.steps_split;
    return vec2<u32>(first, min(first + p.steps_split, p.k4));
}
