//! C in vec4: n, c_ld and the batches are multiples of 4.
//! Set: Out (f32, f16, i32)
@group(0) @binding(C) var<storage, read_write> c: array<vec4<Out>>;
fn c_put(place: Place, left: u32, v: vec4<Value>) { c[place.at / 4u] = vec4<Out>(v); }
