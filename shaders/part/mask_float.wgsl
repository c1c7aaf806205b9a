//! A mask that is added. Rows by item, head and query; keys past its last are hidden.
//#param mask_at: vec4<u32>
@group(0) @binding(MASK_VALUES) var<storage, read> mask_values: array<f32>;
fn mask(item: u32, head: u32, query: u32, key: u32) -> f32 {
    if key >= p.mask_at.w { return hidden(); }
    return mask_values[(item * p.mask_at.x + head * p.mask_at.y + query * p.mask_at.z) * p.mask_at.w + key];
}
