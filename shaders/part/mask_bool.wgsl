//! A mask that says which keys take part. Rows by item, head and query; keys past its last are hidden.
//#param mask_at: vec4<u32>
@group(0) @binding(MASK_VALUES) var<storage, read> mask_values: array<u32>;
fn mask(item: u32, head: u32, query: u32, key: u32) -> f32 {
    if key >= p.mask_at.w { return hidden(); }
    let row = item * p.mask_at.x + head * p.mask_at.y + query * p.mask_at.z;
    return select(hidden(), 0.0, mask_values[row * p.mask_at.w + key] != 0u);
}
