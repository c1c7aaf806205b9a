//! The scan of a single element.
fn scanned(v: L, thread: u32) -> Scan { return Scan(v, neutral(), v); }
