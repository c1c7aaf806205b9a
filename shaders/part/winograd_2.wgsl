//! F(2, 3) along one axis: 4 points, 2 outputs. B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1], A^T = [1 1 1 0; 0 1 -1 -1].
const POINTS = 4u;
const OUTPUTS = 2u;
fn to_points(d: array<vec4<f32>, 4>) -> array<vec4<f32>, 4> {
    return array<vec4<f32>, 4>(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]);
}
fn to_outputs(m: array<vec4<f32>, 4>) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(m[0] + m[1] + m[2], m[1] - m[2] - m[3]);
}
