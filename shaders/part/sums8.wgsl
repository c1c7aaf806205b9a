//! Sums of the real ones among words of four 8-bit integers: where k ends inside a word, its last bytes are padding.
//! Set: UNSIGNED (uint8, else int8)
/// Words from one that ends in padding to the next, and the ones that pick its real bytes.
//#param tail_every: u32
//#param tail_ones: u32
fn sum_one(word: u32, ones: u32) -> i32 {
    if UNSIGNED { return i32(dot4U8Packed(word, ones)); }
    return dot4I8Packed(word, ones);
}
fn sum_word(words: vec4<u32>, k: u32) -> vec4<i32> {
    let ones = select(0x01010101u, p.tail_ones, (k + 1u) % p.tail_every == 0u);
    return vec4<i32>(sum_one(words.x, ones), sum_one(words.y, ones), sum_one(words.z, ones), sum_one(words.w, ones));
}
fn sum_block(block: Block44, k4: u32) -> vec4<i32> {
    let k = 4u * k4;
    return sum_word(block.k0, k) + sum_word(block.k1, k + 1u) + sum_word(block.k2, k + 2u) + sum_word(block.k3, k + 3u);
}
