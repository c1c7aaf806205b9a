//! Constant B in panels of f32, two adjacent blocks at a time.
//! Set: CQ = 2
//#use b_panel_quad
//#use b_row
//#use pair64
@group(0) @binding(B) var<storage, read> b: array<vec4<u64>>;
fn load_b(quads: array<vec4<u32>, CQ>, k4: u32) -> BRow {
    let at = (quads[0].x + 4u * k4 * PANEL) / 2u;
    let k0 = split_pair(b[at]);
    let k1 = split_pair(b[at + PANEL / 2u]);
    let k2 = split_pair(b[at + PANEL]);
    let k3 = split_pair(b[at + 3u * PANEL / 2u]);
    return BRow(Block44(k0.left, k1.left, k2.left, k3.left), Block44(k0.right, k1.right, k2.right, k3.right));
}
