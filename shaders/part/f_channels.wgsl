//! A depthwise filter as F[channel, tap], as training keeps it.
//! Slots: b_one
//#use block44
//#param f_taps: u32
fn f_four(tap: u32, c4: u32) -> vec4<Elem> {
    let i = four_inside(c4, p.n) * p.f_taps + tap;
    return vec4<Elem>(b_one(i.x), b_one(i.y), b_one(i.z), b_one(i.w));
}
