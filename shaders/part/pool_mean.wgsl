//! The mean.
fn pool(sum: ptr<function, Elem>, at: ptr<function, Index>, v: Elem, offset: u32) { *sum += v; }

fn pooled(sum: Elem, count: u32) -> Elem { return sum / f32(count); }
