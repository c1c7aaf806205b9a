//! (sum over k of A, zero point of A) of every row, from `line_sums`.
//#param rows_batch: u32
@group(0) @binding(ROWS) var<storage, read> rows: array<vec2<i32>>;
fn row_info(place: Place) -> vec2<i32> { return rows[place.z * p.rows_batch + place.row]; }
