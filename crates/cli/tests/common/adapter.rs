//! The adapter that the tests of the program run on.

use super::{text, tilewright};
use serde_json::Value;

/// Key of the software adapter, which answers alike everywhere, else of the first; none only where `TILEWRIGHT_SKIP_GPU=1`
/// says that there is none.
pub(crate) fn adapter() -> Option<String> {
    let listed = tilewright(&["adapters", "--json"]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let software = listed.iter().find(|a| a["kind"] == "Software");
    let found = software.or(listed.first());
    let skip = std::env::var_os("TILEWRIGHT_SKIP_GPU").is_some_and(|value| value == "1");
    assert!(
        found.is_some() || skip,
        "no adapter; set TILEWRIGHT_SKIP_GPU=1 where none is expected"
    );
    Some(found?["key"].as_str().unwrap().to_owned())
}
