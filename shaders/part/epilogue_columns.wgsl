//! An epilogue with operands that depend on the column alone, which a loop over rows loads once.
//! Slots: Columns columns epilogue_at
fn epilogue(v: vec4<Value>, place: Place) -> vec4<Value> { return epilogue_at(v, place, columns(place.n)); }
