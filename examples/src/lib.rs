//! What examples and their tests share.
#![warn(clippy::unwrap_used)]
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

pub mod gated;
pub mod models;

/// The folder of the handwritten digits: of the bundle that `TILEWRIGHT_BUNDLE` names, else of the sources.
pub fn digits() -> PathBuf {
    match std::env::var_os("TILEWRIGHT_BUNDLE") {
        Some(bundle) => Path::new(&bundle).join("examples/digits"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("digits"),
    }
}
