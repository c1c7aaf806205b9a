//! A row has one thread: its parts (of a vector load) are combined, in a fixed order.
//#use joined
fn share(a: A, thread: u32) -> A { return joined(a); }
