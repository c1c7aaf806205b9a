//! Operand B in vec4: rows, batches and k blocks start at multiples of 4 elements.
//! Set: BStore (f32, f16, u32)  Elem
@group(0) @binding(B) var<storage, read> b: array<vec4<BStore>>;
fn b_vec(at: u32) -> vec4<Elem> { return vec4<Elem>(b[at]); }
