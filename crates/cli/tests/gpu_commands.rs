//! The program on an adapter: what it lists, what it plans, and that its answers are the references'.

#[path = "common/adapter.rs"]
mod adapter;
mod common;
#[path = "common/data.rs"]
mod data;
#[path = "common/digits.rs"]
mod digits;

use adapter::adapter;
use common::{text, tilewright};
use data::{file, folder, images};
use digits::{check, check_nodes, check_trace, run, table, write};
use serde_json::Value;
use tilewright::tensor::{nmse, npy};

#[test]
fn adapters_are_listed_with_what_they_can_do() {
    let Some(key) = adapter() else { return };
    let listed = text(&tilewright(&["adapters"]).stdout);
    for part in [&*key, "driver", "features", "limits"] {
        assert!(listed.contains(part), "no `{part}` in\n{listed}");
    }
    let json = tilewright(&["adapters", "--json"]);
    let json: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
    for adapter in &json {
        for name in ["key", "name", "kind", "backend", "driver"] {
            assert!(adapter[name].is_string(), "{name}: {adapter}");
        }
        // What WebGPU guarantees to every device.
        assert!(
            adapter["caps"]["binding_bytes"].as_u64() >= Some(128 << 20),
            "{adapter}"
        );
    }
}

#[test]
fn run_uses_the_adapter() {
    let Some(key) = adapter() else { return };
    let folder = folder("gpu_run");
    let (x, expected) = images(3);
    let input = format!("image={}", write(&folder, "x.npy", &x));
    for more in [&["--profile"][..], &["--default-limits"]] {
        let to = folder.join("out");
        let given = ["--input", &input, "--output", to.to_str().unwrap()];
        let report = run(&key, &[&given[..], more].concat());
        check(&report, 3, &expected);
        let written = std::fs::read(to.join("probability.npy")).unwrap();
        // Sums of a few hundred terms in 32 bits, in another order.
        let error = nmse(&npy::read(&written).unwrap(), &expected).unwrap();
        assert!(error < 1e-10, "{error:e}");
        if more == ["--profile"] {
            check_nodes(&report);
        }
    }
}

#[test]
fn a_trace_has_every_dispatch() {
    let Some(key) = adapter() else { return };
    let path = folder("gpu_trace").join("trace.json");
    let report = run(&key, &["--profile", "--trace", path.to_str().unwrap()]);
    check_trace(&path, &report, "device");
    let trace: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let dispatches = events
        .iter()
        .filter(|event| event["args"]["variant"].is_string());
    let groups = |event: &Value| event["args"]["groups"][0].as_u64() > Some(0);
    assert!(dispatches.clone().all(groups));
    assert_eq!(
        dispatches.count(),
        report["nodes"].as_array().unwrap().len()
    );
}

/// Devices with default limits are opened without timestamps.
#[test]
fn a_profile_that_cannot_be_made_is_said_beside_the_outputs() {
    let Some(key) = adapter() else { return };
    let more = ["--default-limits", "--profile"];
    let table = table(&key, &more);
    assert!(table.contains("probability: f32[1, 10]"), "{table}");
    assert!(table.contains("no times of nodes"), "{table}");
    let report = run(&key, &more);
    assert_eq!(report["nodes"], serde_json::json!([]));
    assert!(
        report["note"].as_str().unwrap().contains("timestamp"),
        "{report}"
    );
}

#[test]
fn inspect_shows_every_stage() {
    let Some(key) = adapter() else { return };
    let model = file("digits.onnx");
    let inspect = |stage: &str, more: &[&str]| {
        let args = ["inspect", &model, "--device", &key, "--stage", stage];
        let out = tilewright(&[&args[..], more].concat());
        assert!(out.status.success(), "{stage}: {}", text(&out.stderr));
        text(&out.stdout)
    };
    let json = |stage| -> Value { serde_json::from_str(&inspect(stage, &["--json"])).unwrap() };
    assert!(inspect("graph", &[]).contains("`image`"));
    let plans = json("plan");
    let plan = &plans["plans"][0];
    let number = |name: &str| plan[name].as_u64().unwrap();
    assert!(
        number("arena_bytes") >= number("lower_bound_bytes") && number("lower_bound_bytes") > 0
    );
    let larger = inspect("plan", &["--json", "--size", "batch=9"]);
    let larger: Value = serde_json::from_str(&larger).unwrap();
    assert!(larger["plans"][0]["arena_bytes"].as_u64() > Some(number("arena_bytes")));
    let coverage = json("coverage");
    assert_eq!(coverage["host"], serde_json::json!([]));
    assert_eq!(coverage["dispatches"], plan["dispatches"]);
    assert!(inspect("coverage", &[]).starts_with("0 nodes on the host; "));
    let shaders = json("shaders");
    let shaders = shaders["shaders"].as_array().unwrap();
    assert!(!shaders.is_empty());
    for shader in shaders {
        assert!(shader.as_str().unwrap().contains("@compute"), "{shader}");
    }
}

#[test]
fn an_unknown_adapter_is_named() {
    let Some(key) = adapter() else { return };
    let out = tilewright(&["run", &file("digits.onnx"), "--device", "no such key"]);
    let error = text(&out.stderr);
    assert!(!out.status.success());
    for part in [
        "no adapter for no such key",
        &key,
        "`--device host` runs without an adapter",
    ] {
        assert!(error.contains(part), "no `{part}` in {error}");
    }
}

#[test]
fn tuned_loops_go_through_a_file() {
    let Some(key) = adapter() else { return };
    let folder = folder("gpu_tune");
    let (model, path) = (file("digits.onnx"), folder.join("tuning.json"));
    let to = path.to_str().unwrap();
    let size = ["--size", "batch=32"];
    let brief = ["--rounds", "1", "--sample", "1", "--json", "--out", to];
    let tune = || {
        let args = [&["tune", &model, "--device", &key][..], &size, &brief].concat();
        let out = tilewright(&args);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let report: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(report["format"], "tilewright-tune");
        let ratios = report["products"].as_array().unwrap();
        assert!(ratios.iter().all(|row| row["ratio"].as_f64() >= Some(1.0)));
    };
    // Once more over the file that is there.
    tune();
    tune();
    let (x, expected) = images(3);
    let input = format!("image={}", write(&folder, "x.npy", &x));
    let given = ["--input", &input, "--tuning", to];
    check(&run(&key, &given), 3, &expected);
    // A file of another driver is left aside, and said.
    let tuned = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        tuned.replace("\"driver\": \"", "\"driver\": \"other "),
    )
    .unwrap();
    let args = [&["run", &model, "--device", &key][..], &given].concat();
    let out = tilewright(&args);
    assert!(out.status.success());
    let told = text(&out.stderr);
    assert!(
        told.contains("is not used") && told.contains("driver other"),
        "{told}"
    );
}

#[test]
fn a_model_is_tested_before_it_runs_and_alone() {
    let Some(key) = adapter() else { return };
    let out = tilewright(&["selftest", &file("digits.onnx"), "--device", &key, "--json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["format"], "tilewright-selftest");
    assert!(report["right"].as_array().unwrap().len() >= 3, "{report}");
    for list in ["wrong", "unchecked"] {
        assert_eq!(report[list], serde_json::json!([]));
    }
    let (x, expected) = images(3);
    let input = format!("image={}", write(&folder("gpu_selftest"), "x.npy", &x));
    check(
        &run(&key, &["--input", &input, "--self-test"]),
        3,
        &expected,
    );
}
