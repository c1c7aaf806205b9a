//! Operand A in vec4: rows, batches and k blocks start at multiples of 4 elements.
//! Set: AStore (f32, f16, u32)  Elem
@group(0) @binding(A) var<storage, read> a: array<vec4<AStore>>;
fn a_vec(at: u32) -> vec4<Elem> { return vec4<Elem>(a[at]); }
