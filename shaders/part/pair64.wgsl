//! Eight f32 as four words of 64 bits: lavapipe loads and stores words one by one, whatever their size.
struct Pair { left: vec4<f32>, right: vec4<f32> }

fn split_pair(words: vec4<u64>) -> Pair {
    let low = vec4<u32>(u32(words.x), u32(words.y), u32(words.z), u32(words.w));
    let high = vec4<u32>(u32(words.x >> 32u), u32(words.y >> 32u), u32(words.z >> 32u), u32(words.w >> 32u));
    return Pair(bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y)),
                bitcast<vec4<f32>>(vec4<u32>(low.z, high.z, low.w, high.w)));
}
fn join_pair(left: vec4<f32>, right: vec4<f32>) -> vec4<u64> {
    let l = bitcast<vec4<u32>>(left);
    let r = bitcast<vec4<u32>>(right);
    return vec4<u64>(u64(l.x) | (u64(l.y) << 32u), u64(l.z) | (u64(l.w) << 32u),
                     u64(r.x) | (u64(r.y) << 32u), u64(r.z) | (u64(r.w) << 32u));
}
