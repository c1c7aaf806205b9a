//! An epilogue that loads what it needs for each row of C.
//! Slots: epilogue
struct Columns { none: u32 }
fn columns(n: u32) -> Columns { return Columns(0u); }
fn epilogue_at(v: vec4<Value>, place: Place, own: Columns) -> vec4<Value> { return epilogue(v, place); }
