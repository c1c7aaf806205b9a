//! F(4, 3) along one axis: 6 points (0, 1, -1, 2, -2 and infinity), 4 outputs.
//! B^T = [4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1]
//! A^T = [1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 1]
const POINTS = 6u;
const OUTPUTS = 4u;
fn to_points(d: array<vec4<f32>, 6>) -> array<vec4<f32>, 6> {
    let even = d[4] - 4.0 * d[2];
    let odd = d[3] - 4.0 * d[1];
    let wide = d[4] - d[2];
    let step = 2.0 * (d[3] - d[1]);
    return array<vec4<f32>, 6>(4.0 * d[0] - 5.0 * d[2] + d[4], even + odd, even - odd, wide + step, wide - step,
                               4.0 * d[1] - 5.0 * d[3] + d[5]);
}
fn to_outputs(m: array<vec4<f32>, 6>) -> array<vec4<f32>, 4> {
    let one = m[1] + m[2];
    let one_odd = m[1] - m[2];
    let two = m[3] + m[4];
    let two_odd = m[3] - m[4];
    return array<vec4<f32>, 4>(m[0] + one + two, one_odd + 2.0 * two_odd, one + 4.0 * two, one_odd + 8.0 * two_odd + m[5]);
}
