//! Columns of a B that is not constant, of which (sum over k, zero point, 0, bits of 1.0) are kept, as of a packed one.
//! Slots: k_blocks  b_quad load_b44
alias LineStart = u32;
alias LineQuad = vec4<u32>;
alias LineInfo = vec4<i32>;
fn lines() -> u32 { return p.n; }
fn line_blocks(n4: u32, z: u32) -> vec2<u32> { return k_blocks(0u, 4u * n4, z); }
fn line_start(n4: u32, z: u32) -> LineStart { return n4; }
fn line_quad(start: LineStart, block: u32, z: u32) -> LineQuad { return b_quad(start, block, z); }
fn load_line44(quad: LineQuad, k4: u32) -> Block44 { return load_b44(quad, k4); }
fn line_info(sum: i32, zero: i32) -> LineInfo { return vec4<i32>(sum, zero, 0, 0x3f800000); }
