//! From the int8 accumulator to sum_k (A - zero of A) * (B - zero of B) + bias, exact in i32 (wrapping, as ONNX says):
//! acc - zero_a * sum_b - zero_b * sum_a + k * zero_a * zero_b. Zero points and sums are those of the operands as int8.
//! A column of `cols` is (sum over k of B, zero point of B, bias, bits of the f32 scale).
//! Set:   Value (i32, f32)
//! Slots: row_info  value8
//#param k_count: i32
//#param acc_pad: i32
//#param cols_batch: u32
@group(0) @binding(COLS) var<storage, read> cols: array<vec4<i32>>;

/// Those of four columns.
struct Scales { sums: vec4<i32>, zeros: vec4<i32>, bias: vec4<i32>, scale: vec4<f32> }
fn scales(n: u32, z: u32) -> Scales {
    let at = z * p.cols_batch + n;
    let c0 = cols[at];
    let c1 = cols[at + 1u];
    let c2 = cols[at + 2u];
    let c3 = cols[at + 3u];
    return Scales(vec4<i32>(c0.x, c1.x, c2.x, c3.x), vec4<i32>(c0.y, c1.y, c2.y, c3.y), vec4<i32>(c0.z, c1.z, c2.z, c3.z),
                  bitcast<vec4<f32>>(vec4<i32>(c0.w, c1.w, c2.w, c3.w)));
}

/// `k_count` counts single integers; `acc_pad` is what padding of both operands added.
fn finish(acc: vec4<i32>, place: Place, own: Scales) -> vec4<Value> {
    let row = row_info(place);
    let exact = acc - p.acc_pad - row.y * own.sums - own.zeros * (row.x - p.k_count * row.y) + own.bias;
    return value8(exact, own.scale);
}
