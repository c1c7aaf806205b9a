//! Rows of results in workgroup memory, for a rolled store, two blocks at a time.
//! Set: R LANES CQ ROLL_STORE; CQ = 2, Acc = f32
//#use pair64
var<workgroup> tile: array<vec4<u64>, select(1u, R * LANES, ROLL_STORE)>;
fn tile_put(r: u32, lane: u32, blocks: array<vec4<Acc>, CQ>) { tile[r * LANES + lane] = join_pair(blocks[0], blocks[1]); }
fn tile_get(r: u32, lane: u32) -> array<vec4<Acc>, CQ> {
    let pair = split_pair(tile[r * LANES + lane]);
    return array<vec4<Acc>, CQ>(pair.left, pair.right);
}
