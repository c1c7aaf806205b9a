//! C in single elements, for any n and strides.
//! Set: Out (f32, f16, i32)
@group(0) @binding(C) var<storage, read_write> c: array<Out>;
fn c_put(place: Place, v: vec4<Value>) {
    let o = vec4<Out>(v);
    c[place.at] = o.x;
    if place.n + 1u < p.n { c[place.at + 1u] = o.y; }
    if place.n + 2u < p.n { c[place.at + 2u] = o.z; }
    if place.n + 3u < p.n { c[place.at + 3u] = o.w; }
}
