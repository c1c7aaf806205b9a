//! The scalars of element `i`: four.
fn lanes(i: u32) -> vec4<u32> { return 4u * i + vec4<u32>(0u, 1u, 2u, 3u); }
