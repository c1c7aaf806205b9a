//! Operand A in single elements, for any strides.
//! Set: AStore (f32, f16, u32)  Elem
@group(0) @binding(A) var<storage, read> a: array<AStore>;
fn a_one(at: u32) -> Elem { return Elem(a[at]); }
