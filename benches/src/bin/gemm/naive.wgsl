//! The textbook kernel: a thread computes one element of C.
//#param size: u32
@group(0) @binding(A) var<storage, read> a: array<f32>;
@group(0) @binding(B) var<storage, read> b: array<f32>;
@group(0) @binding(C) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
    if at.x >= p.size || at.y >= p.size { return; }
    var sum = 0.0;
    for (var k = 0u; k < p.size; k++) { sum += a[at.y * p.size + k] * b[k * p.size + at.x]; }
    c[at.y * p.size + at.x] = sum;
}
