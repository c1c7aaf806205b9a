//! Where updates go: rows of a sequence, written into a cache from the position of their batch entry on.
//! Set:   CIRCULAR (positions past the end go on at the beginning)
//! Slots: first_row
//#need CIRCULAR
//#param rows: u32
//#param cache_rows: u32
//#param lines_per_batch: u32

/// The number of the cache's row for row `t` of the update, or NOWHERE if it has none. A line is a sequence: all rows that
/// differ in nothing but their position.
fn place_of(t: u32) -> u32 {
    let line = t / p.rows;
    let size = i32(p.cache_rows);
    var at = first_row(line / p.lines_per_batch) + i32(t - line * p.rows);
    if CIRCULAR { at = (at % size + size) % size; }
    return select(NOWHERE, line * p.cache_rows + u32(at), at >= 0 && at < size);
}
