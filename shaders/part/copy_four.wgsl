//! Four single elements of the source, copy_step apart, make one vector of the target.
//#need Unit
//#param copy_step: u32
@group(0) @binding(A) var<storage, read> a: array<Unit>;
@group(0) @binding(Y) var<storage, read_write> y: array<vec4<Unit>>;

fn move_at(at_a: u32, at_y: u32) {
    let step = p.copy_step;
    y[at_y] = vec4(a[at_a], a[at_a + step], a[at_a + 2u * step], a[at_a + 3u * step]);
}
