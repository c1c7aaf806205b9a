//! Four columns at a time: loads L and accumulates V, stores Y.
alias L = vec4<T>;
alias V = vec4<Acc>;
alias F = vec4<f32>;
alias U = vec4<u32>;
alias R = vec4<Out>;
alias Y = vec4<Out>;
const WIDTH = 1u;
fn rotate(v: V) -> V { return v; }
fn rotate_u(v: U) -> U { return v; }
fn narrow(v: R) -> Y { return v; }
/// Positions along the axis of what the k-th load holds.
fn positions(k: u32) -> U { return vec4<u32>(k); }
