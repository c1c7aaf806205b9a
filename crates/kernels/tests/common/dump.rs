//! Leaves the assembled shaders for a browser's compiler: where `TILEWRIGHT_SHADERS` names a folder, each text that
//! [`super::check`] saw becomes a file there. `./x test browser-compile` sets it.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;
use tilewright_device::Dispatch;

/// Writes `text` with a last line that says where it comes from; the same text twice is one file.
pub(crate) fn dump(dispatch: &Dispatch, text: &str) {
    let Some(folder) = env::var_os("TILEWRIGHT_SHADERS") else {
        return;
    };
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let file = Path::new(&folder).join(format!("{:016x}.wgsl", hasher.finish()));
    let from = dispatch.variant.to_string().replace('\n', " ");
    fs::write(&file, format!("{text}\n// {from}\n")).unwrap();
}
