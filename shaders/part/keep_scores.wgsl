//! Scores that are an output.
@group(0) @binding(KEPT) var<storage, read_write> kept: array<L>;
fn keep(at: u32, x: L) { kept[at] = x; }
