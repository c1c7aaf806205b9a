//! What is padded with is known.
//#need Unit Known
//#param padding: u32
fn padding() -> Word {
    return Word(Unit(bitcast<Known>(p.padding)));
}
