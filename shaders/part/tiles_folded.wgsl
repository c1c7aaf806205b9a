//! A grid of tiles that was folded, with workgroups to spare. The same for all of a workgroup, so barriers may follow.
//#param batches: u32
fn is_past(batch: u32) -> bool { return batch >= p.batches; }
