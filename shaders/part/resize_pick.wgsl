//! The element under a single tap.
fn resized(plane: u32, first_h: u32, kh: u32, first_w: u32, kw: u32, i: u32) -> Elem {
    return Elem(x[((plane + taps[first_h].x) * p.in_w + taps[first_w].x) * p.inner + i]);
}
