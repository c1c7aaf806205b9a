//! One element at a time: loads L and accumulates V, stores Y.
alias L = T;
alias V = Acc;
alias F = f32;
alias U = u32;
alias R = Out;
alias Y = Out;
const WIDTH = 1u;
fn rotate(v: V) -> V { return v; }
fn rotate_u(v: U) -> U { return v; }
fn narrow(v: R) -> Y { return v; }
/// Positions along the axis of what the k-th load holds.
fn positions(k: u32) -> U { return k; }
