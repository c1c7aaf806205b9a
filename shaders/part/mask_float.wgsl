//! A mask that is added. Rows by item, head and query; keys past its last are hidden.
//! Set: MaskT (f32 or f16)
//#need MaskT
//#param mask_at: vec4<u32>
@group(0) @binding(MASK_VALUES) var<storage, read> mask_values: array<MaskT>;
fn mask(item: u32, head: u32, query: u32, key: u32) -> f32 {
    if key >= p.mask_at.w { return hidden(); }
    return f32(mask_values[(item * p.mask_at.x + head * p.mask_at.y + query * p.mask_at.z) * p.mask_at.w + key]);
}
