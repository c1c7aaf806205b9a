//! Workgroup memory of `gemm_coop` in vec4, of which Vulkan's cooperative matrices load 64 and 128 bits at once.
//! Sizes and places count four elements; a fragment begins and its rows lie UNIT elements apart.
//#use coop_fragment
const UNIT = 4u;
var<workgroup> a_tile: array<vec4<Elem>, A_SIZE4>;
var<workgroup> b_tile: array<vec4<Elem>, B_SIZE4>;
var<workgroup> c_tile: array<vec4<Acc>, SM * SN * C_SIZE4>;
fn a_put(to: u32, v: vec4<Elem>) { a_tile[to] = v; }
fn b_put(to: u32, v: vec4<Elem>) { b_tile[to] = v; }
fn c_get(at: u32) -> vec4<Acc> { return c_tile[at]; }
