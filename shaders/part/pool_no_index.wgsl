//! Where nobody asks for the offsets of the maxima.
fn store_index(at: u32, outer: u32, i: u32, offset: Index) {}
