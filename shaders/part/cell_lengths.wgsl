//! A length for each batch item.
@group(0) @binding(LENGTHS) var<storage, read> lengths: array<i32>;
fn length(item: u32) -> u32 { return u32(max(lengths[item], 0)); }
