//! Rows of attention's tensors whose lengths are no multiples of four.
//! Set: HeadT (element type of q, k and y)  ValueT (of v)
//#need HeadT ValueT
//#param head: u32
//#param v_head: u32
@group(0) @binding(Q) var<storage, read> q: array<HeadT>;
@group(0) @binding(K) var<storage, read> k: array<HeadT>;
@group(0) @binding(V) var<storage, read> v: array<ValueT>;
@group(0) @binding(Y) var<storage, read_write> y: array<HeadT>;
fn q4(row: u32, d4: u32) -> vec4f {
    var x: vec4f;
    //#repeat i 4
    if 4u * d4 + $iu < p.head { x[$iu] = f32(q[row + 4u * d4 + $iu]); }
    //#end
    return x;
}
fn k4(row: u32, d4: u32) -> vec4f {
    var x: vec4f;
    //#repeat i 4
    if 4u * d4 + $iu < p.head { x[$iu] = f32(k[row + 4u * d4 + $iu]); }
    //#end
    return x;
}
fn v4(row: u32, d4: u32) -> vec4f {
    var x: vec4f;
    //#repeat i 4
    if 4u * d4 + $iu < p.v_head { x[$iu] = f32(v[row + 4u * d4 + $iu]); }
    //#end
    return x;
}
fn put4(row: u32, d4: u32, x: vec4f) {
    //#repeat i 4
    if 4u * d4 + $iu < p.v_head { y[row + 4u * d4 + $iu] = HeadT(x[$iu]); }
    //#end
}
