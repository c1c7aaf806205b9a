//! Positions from a tensor, one for each batch entry.
@group(0) @binding(FIRST) var<storage, read> first: array<i32>;

fn first_row(batch: u32) -> i32 {
    return first[batch];
}
