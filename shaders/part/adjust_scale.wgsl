//! Normalised elements times a scale of their position in the row.
@group(0) @binding(SCALE) var<storage, read> scale: array<L>;
fn adjust(v: V, w: Walk, k: u32) -> L { return v * scale[k]; }
