//! C as words of four 8-bit integers: round to even, add the zero point, saturate to [c_low, c_high]. Rows are padded with zeros
//! to whole words.
//#param c_low: f32
//#param c_high: f32
//#param c_zero: f32
@group(0) @binding(C) var<storage, read_write> c: array<u32>;
fn c_put(place: Place, left: u32, v: vec4<f32>) {
    let q = vec4<i32>(clamp(round(v) + p.c_zero, vec4<f32>(p.c_low), vec4<f32>(p.c_high)));
    c[place.at / 4u] = pack4xI8(select(vec4<i32>(), q, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(left)));
}
