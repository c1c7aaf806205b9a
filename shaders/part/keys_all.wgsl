//! All keys of all items are valid.
fn offset(item: u32) -> i32 { return p.past; }
fn valid(item: u32) -> u32 { return p.keys; }
