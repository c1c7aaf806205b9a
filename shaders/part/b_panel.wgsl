//! Constant B, packed on the host in panels, a block at a time.
//! Slots: b_vec
//#use b_panel_quad
fn load_b44(quad: vec4<u32>, k4: u32) -> Block44 {
    let at = quad.x + 4u * k4 * PANEL;
    return Block44(b_vec(at), b_vec(at + PANEL), b_vec(at + 2u * PANEL), b_vec(at + 3u * PANEL));
}
