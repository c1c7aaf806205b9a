//! What is padded with is the first element of a tensor.
@group(0) @binding(VALUE) var<storage, read> value: array<u32>;

fn padding() -> Word {
    return Word(value[0]);
}
