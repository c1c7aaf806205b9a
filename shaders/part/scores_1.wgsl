//! One score; what is asked for is kept on the way.
fn scores(x: f32, at: u32, item: u32, head: u32, query: u32, key: u32) -> f32 {
    let scaled = p.scale * x;
    if KEEP == 1u { keep(at, scaled); }
    let v = capped(vec4f(scaled)).x;
    if KEEP == 2u { keep(at, v); }
    let b = biased(v, item, head, query, key);
    if KEEP == 3u { keep(at, b); }
    return b;
}
