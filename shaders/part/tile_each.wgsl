//! Rows of results in workgroup memory, for a rolled store.
//! Set: R LANES CQ ROLL_STORE Acc
var<workgroup> tile: array<vec4<Acc>, select(1u, R * LANES * CQ, ROLL_STORE)>;
fn tile_put(r: u32, lane: u32, blocks: array<vec4<Acc>, CQ>) {
    //#repeat c CQ
    tile[(r * LANES + lane) * CQ + $cu] = blocks[$c];
    //#end
}
fn tile_get(r: u32, lane: u32) -> array<vec4<Acc>, CQ> {
    return array<vec4<Acc>, CQ>(
        //#repeat c CQ
        tile[(r * LANES + lane) * CQ + $cu],
        //#end
    );
}
