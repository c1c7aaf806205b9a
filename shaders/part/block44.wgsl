//! Slots move blocks of 4 x 4 elements, so that memory is read in vec4 whatever the operand's layout.
//! Set: Elem (f32, or u32: four 8-bit integers along k)

/// Four consecutive k (the fields) of four consecutive rows of A or columns of B (the components).
struct Block44 { k0: vec4<Elem>, k1: vec4<Elem>, k2: vec4<Elem>, k3: vec4<Elem> }

fn transpose44(a: vec4<Elem>, b: vec4<Elem>, c: vec4<Elem>, d: vec4<Elem>) -> Block44 {
    return Block44(vec4<Elem>(a.x, b.x, c.x, d.x), vec4<Elem>(a.y, b.y, c.y, d.y),
                   vec4<Elem>(a.z, b.z, c.z, d.z), vec4<Elem>(a.w, b.w, c.w, d.w));
}

/// One k of the four.
fn pick44(b: Block44, k: u32) -> vec4<Elem> { return select(select(b.k0, b.k1, k == 1u), select(b.k2, b.k3, k == 3u), k > 1u); }

/// Four consecutive positions, moved inside an axis of `count`; what is computed from the copies is never stored.
fn four_inside(at4: u32, count: u32) -> vec4<u32> {
    return min(vec4<u32>(4u * at4) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u));
}
