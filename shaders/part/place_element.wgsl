//! Where updates go: each has an index along one axis and keeps its place along the others, whose walk is given innermost
//! axis first with step 0 for the axis.
//! Set: OUTER (axes of the walk but the innermost)
//#need OUTER
//#param place_shape: dims
//#param place_by: dims
//#param place_size: u32
//#param place_step: u32
@group(0) @binding(INDICES) var<storage, read> indices: array<i32>;

/// The number of the element for update `t`, or NOWHERE if its index is outside.
fn place_of(t: u32) -> u32 {
    let index = indices[t];
    let i = index + select(0, i32(p.place_size), index < 0);
    var at = u32(i) * p.place_step;
    var left = t;
    //#repeat d OUTER
    let rest$d = left / p.place_shape[$du / 4u][$du % 4u];
    at += (left - rest$d * p.place_shape[$du / 4u][$du % 4u]) * p.place_by[$du / 4u][$du % 4u];
    left = rest$d;
    //#end
    at += left * p.place_by[OUTER / 4u][OUTER % 4u];
    return select(NOWHERE, at, i >= 0 && i < i32(p.place_size));
}
