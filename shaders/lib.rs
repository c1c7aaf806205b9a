//! The WGSL sources.
