//! The adapter that every machine with a Vulkan driver has.

use super::{text, tilewright};
use serde_json::Value;

/// Key of the software adapter; none only where `TILEWRIGHT_SKIP_GPU=1` says that there is none.
pub(crate) fn software() -> Option<String> {
    let listed = tilewright(&["adapters", "--json"]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let found = listed.iter().find(|a| a["kind"] == "Software");
    let skip = std::env::var_os("TILEWRIGHT_SKIP_GPU").is_some_and(|value| value == "1");
    assert!(
        found.is_some() || skip,
        "no software adapter; set TILEWRIGHT_SKIP_GPU=1 where none is expected"
    );
    Some(found?["key"].as_str().unwrap().to_owned())
}
