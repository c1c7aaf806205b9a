//! How two floats become one. A NaN wins; bits tell it, because shaders may assume that there is none.
//! Set: OP  Bits (u32 in the form of Word)
//#need OP
//#need Bits
fn combine(x: Word, y: Word) -> Word {
    if OP == 1u { return x + y; }
    if OP == 2u { return x * y; }
    let nan_x = (bitcast<Bits>(x) & Bits(0x7fffffffu)) > Bits(0x7f800000u);
    let nan_y = (bitcast<Bits>(y) & Bits(0x7fffffffu)) > Bits(0x7f800000u);
    let best = select(max(x, y), min(x, y), OP == 3u);
    return select(select(best, y, nan_y), x, nan_x);
}
