//! `inspect` for adapters that are not here, and of parts that no run comes to.

mod common;
#[expect(dead_code, reason = "only its files and folders are needed here")]
#[path = "common/data.rs"]
mod data;

use common::{text, tilewright};
use data::{file, folder};
use serde_json::Value;
use tilewright::onnx::encode_model;
use tilewright::onnx::proto::attribute_proto::AttributeType;
use tilewright::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeProto,
    ValueInfoProto, type_proto,
};

fn inspect(model: &str, more: &[&str]) -> String {
    let out = tilewright(&[&["inspect", model], more].concat());
    assert!(out.status.success(), "{more:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

fn json(model: &str, more: &[&str]) -> Value {
    serde_json::from_str(&inspect(model, &[more, &["--json"]].concat())).unwrap()
}

#[test]
fn every_stage_is_shown_for_adapters_that_are_not_here() {
    let model = file("digits.onnx");
    let mut shaders = vec![];
    for kind in ["default", "software", "discrete"] {
        let stage = |stage: &str| json(&model, &["--caps", kind, "--stage", stage]);
        assert!(
            stage("graph")["graph"]
                .as_str()
                .unwrap()
                .contains("`image`")
        );
        let plans = stage("plan");
        let dispatches = plans["plans"][0]["dispatches"].as_u64();
        assert!(dispatches > Some(0), "{plans}");
        let coverage = stage("coverage");
        assert_eq!(coverage["host"], serde_json::json!([]));
        assert_eq!(coverage["late"], serde_json::json!([]));
        assert_eq!(coverage["dispatches"].as_u64(), dispatches);
        shaders.push(stage("shaders")["shaders"].to_string());
    }
    shaders.dedup();
    assert_eq!(
        shaders.len(),
        3,
        "kinds of adapters have shaders of their own"
    );
    let plan = |size: &str| {
        json(
            &model,
            &["--caps", "default", "--stage", "plan", "--size", size],
        )
    };
    let arena = |size: &str| plan(size)["plans"][0]["arena_bytes"].as_u64().unwrap();
    assert!(arena("batch=9") > arena("batch=1"));
    let out = tilewright(&["inspect", &model, "--caps", "default", "--device", "host"]);
    assert!(!out.status.success());
    assert!(
        text(&out.stderr).contains("--caps"),
        "{}",
        text(&out.stderr)
    );
}

fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        name: Some(name.into()),
        input: inputs.iter().map(|&n| n.into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn value(name: &str, dtype: i32) -> ValueInfoProto {
    let tensor = type_proto::Tensor {
        elem_type: Some(dtype),
        shape: Some(Default::default()),
    };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            value,
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// y = c ? x + x : -x, the sum by way of f64, which no device has.
fn choice() -> ModelProto {
    let graph = |node: Vec<NodeProto>, output: &str| GraphProto {
        node,
        output: vec![value(output, 1)],
        ..GraphProto::default()
    };
    let cast = |name: &str, input: &str, output: &str, to: i64| {
        let mut cast = node("Cast", name, &[input], output);
        cast.attribute.push(AttributeProto {
            name: Some("to".into()),
            r#type: Some(AttributeType::Int as i32),
            i: Some(to),
            ..AttributeProto::default()
        });
        cast
    };
    let wide = vec![
        cast("widen", "x", "wide", 11),
        node("Add", "sum", &["wide", "wide"], "both"),
        cast("narrow", "both", "t", 1),
    ];
    let branches = [
        ("then_branch", graph(wide, "t")),
        (
            "else_branch",
            graph(vec![node("Neg", "less", &["x"], "e")], "e"),
        ),
    ];
    let mut choice = node("If", "choice", &["c"], "y");
    choice
        .attribute
        .extend(branches.map(|(name, g)| AttributeProto {
            name: Some(name.into()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(g),
            ..AttributeProto::default()
        }));
    let mut main = graph(vec![choice, node("Exp", "", &["y"], "z")], "z");
    main.input = vec![value("x", 1), value("c", 9)];
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto {
            version: Some(18),
            ..OperatorSetIdProto::default()
        }],
        graph: Some(main),
        ..ModelProto::default()
    }
}

/// Random booleans choose one branch; the host steps of the other are listed all the same.
#[test]
fn coverage_lists_branches_that_no_run_takes() {
    let path = folder("inspect").join("choice.onnx");
    std::fs::write(&path, encode_model(&choice())).unwrap();
    let path = path.to_str().unwrap();
    let shown = inspect(path, &["--caps", "default", "--stage", "coverage"]);
    for line in [
        "host  If `choice`: control flow",
        "host  Add `choice / sum`: ",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!shown.contains("choice / less"), "{shown}");
    let found = json(path, &["--caps", "discrete", "--stage", "coverage"]);
    let hosts = found["host"].as_array().unwrap();
    assert_eq!(hosts[0]["node"], "choice", "{found}");
    assert!(found["device"].as_u64() > Some(1), "{found}");
}
