//! Four single words of the source, copy_step apart, make one element of the target.
//#param copy_step: u32
@group(0) @binding(A) var<storage, read> a: array<u32>;

fn pick(at: u32) -> vec4<u32> {
    let step = p.copy_step;
    return vec4(a[at], a[at + step], a[at + 2u * step], a[at + 3u * step]);
}
