//! Starting the program.

use std::path::PathBuf;
use std::process::{Command, Output};

/// A path that the build baked in; or, where `TILEWRIGHT_BUNDLE` names an unpacked bundle, the one there.
pub(crate) fn place(baked: &str, in_bundle: &str) -> PathBuf {
    match std::env::var_os("TILEWRIGHT_BUNDLE") {
        Some(bundle) => PathBuf::from(bundle).join(in_bundle),
        None => PathBuf::from(baked),
    }
}

pub(crate) fn program() -> Command {
    // Not there where these tests are part of another package, that of bundles.
    let built = option_env!("CARGO_BIN_EXE_tilewright").unwrap_or_default();
    Command::new(place(built, "bin/tilewright"))
}

pub(crate) fn tilewright(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
