//! The data: element i of tensor number t is a hash of both, the same in every program that takes part.

/// 32 bits of PCG's output function over a counter.
fn hash(tensor: u32, index: usize) -> u32 {
    // Wraps at 2^32 by definition.
    let index = index as u32;
    let state = index
        .wrapping_add(1)
        .wrapping_mul(747_796_405)
        .wrapping_add(tensor.wrapping_add(1).wrapping_mul(2_891_336_453));
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

/// The first `len` elements of tensor number `tensor`: multiples of 2^-23 in [-1, 1), exact in f32.
pub fn floats(tensor: u32, len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| (hash(tensor, i) >> 8) as f32 / 8_388_608.0 - 1.0)
        .collect()
}

/// The first `len` elements of an integer input of a model: 0 to 99.
pub fn integers(tensor: u32, len: usize) -> Vec<i64> {
    (0..len).map(|i| i64::from(hash(tensor, i) % 100)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand from the formula in the README, for (t, i) = (0, 0) and (1, 5).
    #[test]
    fn the_data_is_the_protocols() {
        let state = 747_796_405u64 + 2_891_336_453 & 0xffff_ffff;
        let word = (((state >> ((state >> 28) + 4)) ^ state) * 277_803_737) & 0xffff_ffff;
        assert_eq!(u64::from(hash(0, 0)), (word >> 22) ^ word);
        let state = (6 * 747_796_405u64 + 2 * 2_891_336_453) & 0xffff_ffff;
        let word = (((state >> ((state >> 28) + 4)) ^ state) * 277_803_737) & 0xffff_ffff;
        assert_eq!(u64::from(hash(1, 5)), (word >> 22) ^ word);
        assert!(floats(0, 4096).iter().all(|v| (-1.0..1.0).contains(v)));
        assert!(integers(2, 4096).iter().all(|v| (0..100).contains(v)));
    }
}
