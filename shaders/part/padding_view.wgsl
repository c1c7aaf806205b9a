//! What is padded with is the first element of a tensor.
@group(0) @binding(VALUE) var<storage, read> value: array<Unit>;

fn padding() -> Word {
    return Word(value[0]);
}
