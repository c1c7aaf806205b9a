//! Where updates go: the last axis of the indices holds tuples of TUPLE indices that name slices.
//! Set: TUPLE
//#need TUPLE
//#param place_sizes: dims
//#param place_by: dims
@group(0) @binding(INDICES) var<storage, read> indices: array<i32>;

/// The number of the slice that tuple `t` names, or NOWHERE if an index is outside.
fn place_of(t: u32) -> u32 {
    var at = 0u;
    var inside = true;
    //#repeat q TUPLE
    let size$q = i32(p.place_sizes[$qu / 4u][$qu % 4u]);
    let index$q = indices[t * TUPLE + $qu];
    let i$q = index$q + select(0, size$q, index$q < 0);
    inside = inside && i$q >= 0 && i$q < size$q;
    at += u32(i$q) * p.place_by[$qu / 4u][$qu % 4u];
    //#end
    return select(NOWHERE, at, inside);
}
