//! Shaders through a browser's compiler: naga, which checks them everywhere else, accepts what browsers refuse.

use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tilewright_web::page::{Server, run};

/// Compiles `[{name, text, features}]` in Chromium and returns the page's report.
fn compile(shaders: &Value) -> Value {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("pages");
    let extra = HashMap::from([("/shaders.json".to_owned(), shaders.to_string())]);
    let server = Server::start(&pages, extra, 0).unwrap();
    let text = run(&server, "compile.html", Duration::from_secs(900))
        .unwrap_or_else(|error| panic!("{error}"));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert!(report.get("error").is_none(), "{report}");
    report
}

/// How many shaders the host tests leave at least (1,574 were counted): fewer would be a check of less than it says.
const FEWEST: u64 = 1500;

const GOOD: &str = "
    @group(0) @binding(0) var<storage, read_write> out: array<f32>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) { out[id.x] = f32(id.x); }";

#[test]
fn the_page_tells_good_shaders_from_bad_ones() {
    let broken = GOOD.replace("f32(id.x)", "id.x");
    // A barrier behind a bound that differs between threads as far as a browser can know: naga lets it pass.
    let divergent = GOOD.replace(
        "out[id.x]",
        "for (var i = 0u; f32(i) < out[id.x]; i++) { workgroupBarrier(); } out[id.x]",
    );
    // Valid as a module; only the pipeline finds that the workgroup is too large.
    let large = GOOD.replace("workgroup_size(64)", "workgroup_size(65536)");
    let absent = GOOD.replace("fn main", "fn other");
    let report = compile(&json!([
        {"name": "good", "text": GOOD},
        {"name": "broken", "text": broken},
        {"name": "divergent", "text": divergent},
        {"name": "large", "text": large},
        {"name": "absent", "text": absent},
        {"name": "feature", "text": GOOD, "features": ["a-feature-of-no-adapter"]},
        {"name": "last", "text": GOOD},
    ]));
    assert_eq!(report["compiled"], 2, "{report}");
    let failed: BTreeMap<_, _> = report["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["name"].as_str().unwrap(), f["message"].as_str().unwrap()))
        .collect();
    let names: Vec<_> = failed.keys().copied().collect();
    assert_eq!(
        names,
        ["absent", "broken", "divergent", "large"],
        "{report}"
    );
    assert!(failed["broken"].starts_with("4:"), "{report}");
    assert_eq!(
        report["skipped"],
        json!([{"name": "feature", "features": ["a-feature-of-no-adapter"]}])
    );
}

/// What the host tests of the kernels left: they choose variants for many adapters, operators and sizes, and
/// `./x test browser-compile` runs them first with `TILEWRIGHT_SHADERS` naming the folder.
#[test]
fn every_shader_compiles() {
    let folder = env::var_os("TILEWRIGHT_SHADERS").expect("run ./x test browser-compile");
    let shaders: Vec<Value> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| shader(&fs::read_to_string(entry.unwrap().path()).unwrap()))
        .collect();
    let report = compile(&Value::from(shaders.clone()));
    println!(
        "{}: {} shaders compiled, {} skipped",
        report["adapter"],
        report["compiled"],
        report["skipped"].as_array().unwrap().len()
    );
    for failed in report["failed"].as_array().unwrap() {
        println!(
            "{}\n{}",
            failed["name"].as_str().unwrap(),
            failed["message"].as_str().unwrap()
        );
    }
    assert_eq!(report["failed"], json!([]));
    assert!(
        report["compiled"].as_u64() >= Some(FEWEST),
        "{} of {} shaders were compiled, expected {FEWEST}",
        report["compiled"],
        shaders.len()
    );
}

/// An entry for the page: the last line of a dumped text says where it comes from.
fn shader(text: &str) -> Value {
    let name = text.lines().last().unwrap_or("").trim_start_matches("// ");
    let f16 = text.contains("enable f16;");
    // wgpu cannot request subgroups in a browser, so these never run there: the module alone shows that the text is WGSL.
    // A browser wants the line that native wgpu refuses.
    let subgroups = text.contains("subgroup");
    let prelude = if subgroups { "enable subgroups;" } else { "" };
    let features: Vec<_> = [(f16, "shader-f16"), (subgroups, "subgroups")]
        .into_iter()
        .filter_map(|(used, feature)| used.then_some(feature))
        .collect();
    json!({
        "name": name,
        "text": format!("{prelude}{text}"),
        "features": features,
        "moduleOnly": subgroups,
    })
}
