//! All batch items have all steps.
fn length(item: u32) -> u32 { return p.steps; }
