//! Rows of attention's tensors in blocks of four.
//! Set: HeadT (element type of q, k and y)  ValueT (of v)
//#need HeadT ValueT
@group(0) @binding(Q) var<storage, read> q: array<vec4<HeadT>>;
@group(0) @binding(K) var<storage, read> k: array<vec4<HeadT>>;
@group(0) @binding(V) var<storage, read> v: array<vec4<ValueT>>;
@group(0) @binding(Y) var<storage, read_write> y: array<vec4<HeadT>>;
fn q4(row: u32, d4: u32) -> vec4f { return select(vec4f(), vec4f(q[row / 4u + min(d4, p.head4 - 1u)]), d4 < p.head4); }
fn k4(row: u32, d4: u32) -> vec4f { return select(vec4f(), vec4f(k[row / 4u + min(d4, p.head4 - 1u)]), d4 < p.head4); }
fn v4(row: u32, d4: u32) -> vec4f { return vec4f(v[row / 4u + min(d4, p.v_head4 - 1u)]); }
fn put4(row: u32, d4: u32, x: vec4f) {
    if d4 < p.v_head4 { y[row / 4u + d4] = vec4<HeadT>(x); }
}
