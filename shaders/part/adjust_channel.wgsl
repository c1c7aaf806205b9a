//! Normalised elements times a scale of their channel, plus a bias. A row holds per_row channels of `each` loads; `rows`
//! rows hold them all.
@group(0) @binding(SCALE) var<storage, read> scale: array<ScaleL>;
@group(0) @binding(BIAS) var<storage, read> bias: array<ScaleL>;
//#need ScaleL
//#param rows: u32
//#param per_row: u32
//#param each: u32
fn adjust(v: V, w: Walk, k: u32) -> V {
    var c = w.row % p.rows * p.per_row;
    if p.per_row > 1u { c += k / p.each; }
    return v * f32(scale[c]) + f32(bias[c]);
}
