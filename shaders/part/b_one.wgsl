//! Operand B in single elements, for any strides.
//! Set: BStore (f32, f16, u32)  Elem
@group(0) @binding(B) var<storage, read> b: array<BStore>;
fn b_one(at: u32) -> Elem { return Elem(b[at]); }
