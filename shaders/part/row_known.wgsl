//! (sum over k of A, zero point of A): one zero point known on the host. The sum does not count: no zero point of B.
//#param a_zero_point: i32
fn row_info(place: Place) -> vec2<i32> { return vec2<i32>(0, p.a_zero_point); }
