//! Small deterministic tensors for test cases.

use tilewright_tensor::{DType, Element, HostTensor};

/// A tensor of the given elements; the lengths must agree, as a case states both.
pub fn of<T: Element>(shape: &[usize], values: &[T]) -> HostTensor {
    HostTensor::from_slice(shape.to_vec(), values)
        .expect("a case states as many values as its shape holds")
}

/// A one-dimensional int64 tensor: axes, shapes, bounds.
pub fn ints(values: &[i64]) -> HostTensor {
    of(&[values.len()], values)
}

/// Floats in -1..1, evenly spread, different for each `seed`.
pub fn uniform(shape: &[usize], seed: u64) -> HostTensor {
    between(shape, seed, -1.0, 1.0)
}

/// Floats in `low..high`.
pub fn between(shape: &[usize], seed: u64, low: f32, high: f32) -> HostTensor {
    let n = shape.iter().product();
    let values: Vec<f32> = numbers(seed)
        .take(n)
        .map(|x| low + (high - low) * (x >> 40) as f32 / (1u64 << 24) as f32)
        .collect();
    of(shape, &values)
}

/// Integers in `low..high` as `dtype`.
pub fn integers(dtype: DType, shape: &[usize], seed: u64, low: i64, high: i64) -> HostTensor {
    let n: usize = shape.iter().product();
    let values = numbers(seed)
        .take(n)
        .map(|x| low + ((x >> 33) as i64) % (high - low))
        .collect();
    HostTensor::from_i64(dtype, shape.to_vec(), values).expect("a case's shape is small")
}

/// Booleans, half of them true.
pub fn booleans(shape: &[usize], seed: u64) -> HostTensor {
    integers(DType::Bool, shape, seed, 0, 2)
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
