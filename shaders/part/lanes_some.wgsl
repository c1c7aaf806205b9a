//! The first lanes load rows of A: a load takes as long as there are lanes that take part.
//! Set:   LOADERS
//! Slots: load_a44
fn load_a(quad: AQuad, k4: u32, lane: u32) -> Block44 {
    var a: Block44;
    if lane < LOADERS { a = load_a44(quad, k4); }
    return a;
}
