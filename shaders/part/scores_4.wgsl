//! Four neighbouring scores; what is asked for is kept on the way.
fn scores(x: vec4<f32>, at: u32, item: u32, head: u32, query: u32, block: u32) -> vec4<f32> {
    let scaled = p.scale * x;
    if KEEP == 1u { keep(at, scaled); }
    var v = capped(scaled);
    if KEEP == 2u { keep(at, v); }
    //#repeat i 4
    v[$iu] = biased(v[$iu], item, head, query, 4u * block + $iu);
    //#end
    if KEEP == 3u { keep(at, v); }
    return v;
}
