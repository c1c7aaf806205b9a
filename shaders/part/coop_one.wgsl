//! Workgroup memory of `gemm_coop` in single elements, as Metal's matrices need it: their pointers are to scalars.
//! Sizes and places count four elements.
//#use coop_fragment
const UNIT = 1u;
var<workgroup> a_tile: array<Elem, 4u * A_SIZE4>;
var<workgroup> b_tile: array<Elem, 4u * B_SIZE4>;
var<workgroup> c_tile: array<Acc, 4u * SM * SN * C_SIZE4>;
fn a_put(to: u32, v: vec4<Elem>) {
    //#repeat i 4
    a_tile[4u * to + $iu] = v[$i];
    //#end
}
fn b_put(to: u32, v: vec4<Elem>) {
    //#repeat i 4
    b_tile[4u * to + $iu] = v[$i];
    //#end
}
fn c_get(at: u32) -> vec4<Acc> {
    return vec4<Acc>(c_tile[4u * at], c_tile[4u * at + 1u], c_tile[4u * at + 2u], c_tile[4u * at + 3u]);
}
