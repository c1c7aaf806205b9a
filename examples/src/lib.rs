//! What examples and their tests share.
#![warn(clippy::unwrap_used)]
#![forbid(unsafe_code)]

pub mod gated;
pub mod models;
