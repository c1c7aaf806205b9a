//! Normalised elements as they are.
fn adjust(v: V, w: Walk, k: u32) -> V { return v; }
