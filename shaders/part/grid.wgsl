//! A flat workgroup number from a dispatch that is folded into three dimensions.

/// The number of this workgroup when the `count` groups are counted with x fastest, then y, then z.
/// A folded dispatch may hold more groups than asked for: the caller leaves where the number is too large.
fn flat_group(group: vec3<u32>, count: vec3<u32>) -> u32 {
    return (group.z * count.y + group.y) * count.x + group.x;
}
