//! The first keys of each item are valid; its queries are the last of them. `rest` counts the queries from the first on,
//! those of later blocks included.
//#param rest: u32
@group(0) @binding(VALID_KEYS) var<storage, read> valid_keys: array<i32>;
fn offset(item: u32) -> i32 { return valid_keys[item] - i32(p.rest); }
fn valid(item: u32) -> u32 { return u32(max(valid_keys[item], 0)); }
