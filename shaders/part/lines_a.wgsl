//! Rows of A, of which (sum over k, zero point) are kept.
//! Slots: k_blocks  AStart AQuad a_start a_quad load_a44
alias LineStart = AStart;
alias LineQuad = AQuad;
alias LineInfo = vec2<i32>;
fn lines() -> u32 { return p.m; }
fn line_blocks(m4: u32, z: u32) -> vec2<u32> { return k_blocks(4u * m4, 0u, z); }
fn line_start(m4: u32, z: u32) -> LineStart { return a_start(m4, z); }
fn line_quad(start: LineStart, block: u32, z: u32) -> LineQuad { return a_quad(start, block); }
fn load_line44(quad: LineQuad, k4: u32) -> Block44 { return load_a44(quad, k4); }
fn line_info(sum: i32, zero: i32) -> LineInfo { return vec2<i32>(sum, zero); }
