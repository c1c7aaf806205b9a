//! The wasm package in headless Chromium. `./x test web` makes what it needs: the package in `target/pages`, and Chromium.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tilewright_web::page::{Server, run};

/// Opens a page of the built package and returns its report, which must not be an error.
fn open(page: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/pages");
    assert!(
        folder.join("tilewright_web_bg.wasm").is_file(),
        "no web package in target/pages: run ./x test web"
    );
    let server = Server::start(&folder, HashMap::new(), 0).unwrap();
    let text =
        run(&server, page, Duration::from_secs(120)).unwrap_or_else(|error| panic!("{error}"));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert!(report.get("error").is_none(), "{page}: {report}");
    report
}

#[test]
fn the_adapter_computes() {
    let report = open("adapter.html");
    let key = report["key"].as_str().unwrap();
    assert!(key.to_lowercase().contains("webgpu"), "{key}");
    // What WebGPU guarantees to every device.
    assert!(
        report["bindingBytes"].as_u64() >= Some(128 << 20),
        "{report}"
    );
    assert!(
        report["workgroupBytes"].as_u64() >= Some(16 << 10),
        "{report}"
    );
    assert!(report["invocations"].as_u64() >= Some(256), "{report}");
    // All words but the last are written.
    let words = report["words"].as_array().unwrap();
    assert_eq!(words.len(), 1002);
    assert!(
        words[..1001].iter().all(|word| *word == 0x1234_5678),
        "{words:?}"
    );
    assert_eq!(words[1001], 0);
}

#[test]
fn the_digits_are_classified() {
    let report = open("digits.html");
    println!("{report}");
    let image = json!([{"name": "image", "dtype": "f32", "shape": ["batch", 1, 8, 8]}]);
    assert_eq!(report["inputs"], image);
    // Every node runs on the adapter.
    assert_eq!(report["hostSteps"], json!([]));
    // What onnx's reference evaluator and onnxruntime reach; no decision is close.
    assert_eq!(
        (&report["right"], &report["of"]),
        (&json!(1795), &json!(1797))
    );
}
