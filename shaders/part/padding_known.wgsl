//! What is padded with is known.
//#param padding: u32
fn padding() -> Word {
    return Word(p.padding);
}
