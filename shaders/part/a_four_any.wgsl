//! Four consecutive elements of A that begin anywhere; past the last element the last one.
//! Slots: a_one
//#param a_count: u32
fn a_four(at: u32) -> vec4<Elem> {
    let i = min(vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.a_count - 1u));
    return vec4<Elem>(a_one(i.x), a_one(i.y), a_one(i.z), a_one(i.w));
}
