//! All positions are 0.
fn first_row(batch: u32) -> i32 {
    return 0;
}
