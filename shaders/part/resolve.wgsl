//! Indices as ONNX has them.

/// The element of an axis of `size` (1 or more) that an index names: negative ones count from the end, and those outside are
/// moved to the nearest element, so that no address leaves the tensor.
fn resolve(index: i32, size: u32) -> u32 {
    let from_start = index + select(0, i32(size), index < 0);
    return u32(clamp(from_start, 0, i32(size) - 1));
}
