//! Every lane loads rows of A.
//! Slots: load_a44
fn load_a(quad: AQuad, k4: u32, lane: u32) -> Block44 { return load_a44(quad, k4); }
