//! acc + a . b for words of four along k, a in uint8 and b in int8, in i32; for software adapters. One factor that is
//! known not to be negative lets x86 compilers use a 16-bit multiply-add (1.08x on lavapipe); GPUs have instructions for equal
//! signs only. Bytes of a are taken apart in the lane that loaded them, not in all that multiply with them (1.03x).
alias Spread = vec4<i32>;
fn spread(a: u32) -> vec4<i32> {
    return vec4<i32>((vec4<u32>(a) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu));
}
fn bytes_i8(v: u32) -> vec4<i32> {
    return bitcast<vec4<i32>>(vec4<u32>(v) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
}
/// Summed without `dot`, which some drivers turn into a chain.
fn dot_bytes(a: vec4<i32>, b: vec4<i32>) -> i32 { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
fn mac(acc: vec4<i32>, a: vec4<i32>, b: vec4<u32>) -> vec4<i32> {
    return acc + vec4<i32>(dot_bytes(a, bytes_i8(b.x)), dot_bytes(a, bytes_i8(b.y)), dot_bytes(a, bytes_i8(b.z)), dot_bytes(a, bytes_i8(b.w)));
}
