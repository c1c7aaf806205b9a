//! Runs of the digits, and what comes of them.

use super::{file, text, tilewright};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use tilewright::HostTensor;
use tilewright::tensor::npy;

/// Writes a tensor beside the outputs of a test.
pub(crate) fn write(folder: &Path, name: &str, tensor: &HostTensor) -> String {
    let path = folder.join(name);
    std::fs::write(&path, npy::write(tensor).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// `run` on the digits; its report, which must be there.
pub(crate) fn run(device: &str, more: &[&str]) -> Value {
    let model = file("digits.onnx");
    let args = [&["run", &model, "--device", device, "--json"], more].concat();
    let out = tilewright(&args);
    assert!(out.status.success(), "{}", text(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The same as text.
pub(crate) fn table(device: &str, more: &[&str]) -> String {
    let model = file("digits.onnx");
    let args = [&["run", &model, "--device", device], more].concat();
    let out = tilewright(&args);
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stdout)
}

/// Checks a report of a run over `count` images: every field that scripts may rely on.
pub(crate) fn check(report: &Value, count: usize, expected: &HostTensor) {
    assert_eq!(report["format"], "tilewright-run");
    assert_eq!(report["version"], 1);
    assert!(report["adapter"].is_string());
    for time in ["load_ms", "open_ms", "first_ms"] {
        assert!(
            report[time].as_f64().is_some_and(|ms| ms >= 0.0),
            "{time}: {report}"
        );
    }
    assert_eq!(report["host_steps"], serde_json::json!([]));
    let outputs = report["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 1);
    let output = &outputs[0];
    assert_eq!(output["name"], "probability");
    assert_eq!(output["dtype"], "f32");
    assert_eq!(output["shape"], serde_json::json!([count, 10]));
    for (row, scores) in expected.to_f64().chunks(10).enumerate() {
        let best = (0..10)
            .max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
            .unwrap();
        let top = &output["top"][row][0];
        assert_eq!(top["class"], best, "row {row}");
        assert!(
            (top["score"].as_f64().unwrap() - scores[best]).abs() < 1e-4,
            "{top}"
        );
    }
}

/// Checks a trace of the digits' model: its events do not overlap on their track, and those of nodes have nodes' names.
pub(crate) fn check_trace(path: &Path, report: &Value, track: &str) {
    let trace: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let named = |event: &&Value| event["name"] == "thread_name" && event["args"]["name"] == track;
    let nodes_track = &events.iter().find(named).unwrap()["tid"];
    let nodes = report["nodes"].as_array().unwrap();
    let mut ends = HashMap::new();
    let (mut count, mut phases) = (0, vec![]);
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let (begin, time) = (
            event["ts"].as_f64().unwrap(),
            event["dur"].as_f64().unwrap(),
        );
        let end = ends.entry(event["tid"].to_string()).or_insert(0.0);
        // A nanosecond for the rounding of microseconds.
        assert!(begin >= *end - 1e-3 && time >= 0.0, "{event}");
        *end = begin + time;
        match event["tid"] == *nodes_track {
            true => {
                let (name, unnamed) = (&event["name"], Value::from(""));
                let named =
                    |n: &Value| n["node"] == *name || n["node"] == unnamed && n["op"] == *name;
                assert!(nodes.iter().any(named), "{event}");
                count += 1;
            }
            false => phases.push(event["name"].as_str().unwrap()),
        }
    }
    assert_eq!(count, nodes.len());
    assert!(
        phases.contains(&"load the model") && phases.contains(&"first run"),
        "{phases:?}"
    );
}

/// Checks the times of a profile.
pub(crate) fn check_nodes(report: &Value) {
    let nodes = report["nodes"].as_array().unwrap();
    for node in nodes {
        for name in ["node", "op", "shader"] {
            assert!(node[name].is_string(), "{node}");
        }
        assert!(node["ns"].is_u64(), "{node}");
    }
    assert!(
        nodes.iter().any(|node| node["ns"].as_u64() > Some(0)),
        "{nodes:?}"
    );
    assert!(
        nodes.iter().any(|node| node["op"] == "Softmax"),
        "{nodes:?}"
    );
}
