//! Four elements of a row at a time: loads L and accumulates V, stores one Y.
alias L = vec4<T>;
alias V = vec4<Acc>;
alias F = vec4<f32>;
alias U = vec4<u32>;
alias R = vec4<Out>;
alias Y = Out;
const WIDTH = 4u;
fn rotate(v: V) -> V { return v.yzwx; }
fn rotate_u(v: U) -> U { return v.yzwx; }
fn narrow(v: R) -> Y { return v.x; }
/// Positions along the axis of what the k-th load holds.
fn positions(k: u32) -> U { return 4u * k + vec4<u32>(0u, 1u, 2u, 3u); }
