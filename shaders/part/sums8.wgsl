//! Sums of the real ones among words of four int8: where k ends inside a word, its last bytes are padding.
/// Words from one that ends in padding to the next, and the ones that pick its real bytes.
//#param tail_every: u32
//#param tail_ones: u32
fn sum_word(words: vec4<u32>, k: u32) -> vec4<i32> {
    let ones = select(0x01010101u, p.tail_ones, (k + 1u) % p.tail_every == 0u);
    return vec4<i32>(dot4I8Packed(words.x, ones), dot4I8Packed(words.y, ones), dot4I8Packed(words.z, ones), dot4I8Packed(words.w, ones));
}
fn sum_block(block: Block44, k4: u32) -> vec4<i32> {
    let k = 4u * k4;
    return sum_word(block.k0, k) + sum_word(block.k1, k + 1u) + sum_word(block.k2, k + 2u) + sum_word(block.k3, k + 3u);
}
