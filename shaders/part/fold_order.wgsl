//! The largest or smallest of floats by their place in the order of numbers; a NaN beats all. T and Out are f32 or f16,
//! Acc = i32.
//! Set: MIN
//#need MIN
//#use order_float
alias A = V;

/// The place of what every value beats.
fn start() -> A { return A(-2147483647i - 1i); }

fn before(v: L, k: u32) -> A { return order(v); }

fn combine(a: A, b: A) -> A { return max(a, b); }

fn turn(a: A) -> A { return rotate(a); }

fn after(a: A) -> R { return R(unordered(a)); }
