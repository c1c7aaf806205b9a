//! C in vec4 of f16 on adapters without f16: two a word.
@group(0) @binding(C) var<storage, read_write> c: array<vec2<u32>>;
fn c_put(place: Place, left: u32, v: vec4<f32>) { c[place.at / 4u] = vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw)); }
