//! C in single elements, for any n and strides.
//! Set: Out (f32, f16, i32)
@group(0) @binding(C) var<storage, read_write> c: array<Out>;
fn c_put(place: Place, left: u32, v: vec4<Value>) {
    let o = vec4<Out>(v);
    c[place.at] = o.x;
    if left > 1u { c[place.at + 1u] = o.y; }
    if left > 2u { c[place.at + 2u] = o.z; }
    if left > 3u { c[place.at + 3u] = o.w; }
}
