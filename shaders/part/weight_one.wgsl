//! All classes weigh the same.
fn weight_of(class_id: u32) -> f32 { return 1.0; }
