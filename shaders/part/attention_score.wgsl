//! What becomes of the product of a query and a key: scaled, capped, and minus infinity where the query must not look.
//! Slots: capped  mask  offset valid
//#param queries: u32
//#param keys: u32
//#param scale: f32
/// How far ahead of its own place a query sees, and how far behind; 2^30 where there is no bound.
//#param ahead: i32
//#param behind: i32
/// Keys before the first query.
//#param past: i32
fn hidden() -> f32 {
    // Constant expressions may not be infinite; a variable's bits may.
    var bits = 0xff800000u;
    return bitcast<f32>(bits);
}

fn sees(item: u32, query: u32, key: u32) -> bool {
    let far = i32(key) - (i32(query) + offset(item));
    return far <= p.ahead && far >= -p.behind && key < min(valid(item), p.keys);
}

fn biased(x: f32, item: u32, head: u32, query: u32, key: u32) -> f32 {
    if !sees(item, query, key) { return hidden(); }
    let bias = mask(item, head, min(query, p.queries - 1u), key);
    return select(x + bias, hidden(), bitcast<u32>(bias) == 0xff800000u);
}
