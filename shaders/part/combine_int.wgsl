//! How two integers become one; sums and products wrap.
//! Set: OP
//#need OP
fn combine(x: Word, y: Word) -> Word {
    if OP == 1u { return x + y; }
    if OP == 2u { return x * y; }
    return select(max(x, y), min(x, y), OP == 3u);
}
