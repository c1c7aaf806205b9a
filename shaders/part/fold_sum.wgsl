//! Sums of floats. Acc = f32.
alias A = V;
fn combine(a: A, b: A) -> A { return a + b; }
fn turn(a: A) -> A { return rotate(a); }
