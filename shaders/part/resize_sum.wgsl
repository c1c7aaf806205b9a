//! The weighted sum over the taps of both axes.
fn resized(plane: u32, first_h: u32, kh: u32, first_w: u32, kw: u32, i: u32) -> Elem {
    var sum = Elem();
    for (var a = 0u; a < kh; a++) {
        let h = taps[first_h + a];
        var line = Elem();
        for (var b = 0u; b < kw; b++) {
            let w = taps[first_w + b];
            var v = Elem(p.outside);
            if h.x != NOTHING && w.x != NOTHING {
                v = Elem(x[((plane + h.x) * p.in_w + w.x) * p.inner + i]);
            }
            line += bitcast<f32>(w.y) * v;
        }
        sum += bitcast<f32>(h.y) * line;
    }
    return sum;
}
