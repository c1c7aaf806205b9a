//! `tilewright suite` with tests that never end: over time or killed, each is one error, and the next test passes.

mod common;
#[path = "common/data.rs"]
mod data;

use common::{program, text, tilewright};
use data::{file, folder, images};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tilewright::onnx::proto::attribute_proto::AttributeType;
use tilewright::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use tilewright::onnx::{encode_model, load_tensor, save_tensor, write_tensor};
use tilewright::{DType, HostTensor};

/// A scalar.
fn value(name: &str, dtype: DType) -> ValueInfoProto {
    let tensor = type_proto::Tensor {
        elem_type: Some(tilewright::graph::attrs::dtype_code(dtype) as i32),
        shape: Some(TensorShapeProto::default()),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// y = |..|x||, as many times as an i64 can say.
fn endless() -> Vec<u8> {
    let body = GraphProto {
        input: vec![
            value("i", DType::I64),
            value("go", DType::Bool),
            value("old", DType::F32),
        ],
        node: vec![
            node("Identity", &["go"], "on"),
            node("Abs", &["old"], "new"),
        ],
        output: vec![value("on", DType::Bool), value("new", DType::F32)],
        ..GraphProto::default()
    };
    let mut trips = node("Loop", &["trips", "", "x"], "y");
    trips.attribute.push(AttributeProto {
        name: Some("body".to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(body),
        ..AttributeProto::default()
    });
    encode_model(&ModelProto {
        ir_version: Some(10),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(21),
        }],
        graph: Some(GraphProto {
            input: vec![value("x", DType::F32)],
            initializer: vec![write_tensor("trips", &HostTensor::scalar(i64::MAX))],
            node: vec![trips],
            output: vec![value("y", DType::F32)],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    })
}

/// A list of two tests, `endless` and `whole`, in an empty folder; what `whole` must give.
fn tests(name: &str) -> (PathBuf, HostTensor) {
    let folder = folder(name);
    let (x, expected) = images(2);
    let digits = std::fs::read(file("digits.onnx")).unwrap();
    let scalar = save_tensor("x", &HostTensor::scalar(-1f32));
    for (test, model, input) in [
        ("endless", endless(), scalar),
        ("whole", digits, save_tensor("image", &x)),
    ] {
        let set = folder.join(test).join("test_data_set_0");
        std::fs::create_dir_all(&set).unwrap();
        std::fs::write(folder.join(test).join("model.onnx"), model).unwrap();
        std::fs::write(set.join("input_0.pb"), input).unwrap();
    }
    let list = ["endless", "whole"].map(|test| folder.join(test).display().to_string());
    std::fs::write(folder.join("list.txt"), list.join("\n")).unwrap();
    (folder, expected)
}

/// The arguments that run the list of a folder, with as many seconds a test.
fn args(folder: &Path, limit: &str) -> Vec<String> {
    let paths = ["list.txt", "out"].map(|name| folder.join(name).display().to_string());
    let [list, out] = paths.each_ref().map(String::as_str);
    let args = ["suite", list, out, "--device", "host", "--no-limits"];
    let args = args.into_iter().chain(["--limit", limit]);
    args.map(str::to_owned).collect()
}

/// The endless test is the one error, and it is this one; the other passed.
fn check(folder: &Path, expected: &HostTensor, out: &Output, what: &str) {
    assert!(!out.status.success());
    assert!(
        text(&out.stderr).contains("1 of 2 tests could not run"),
        "{}",
        text(&out.stderr)
    );
    let errors = std::fs::read_to_string(folder.join("out/errors.txt")).unwrap();
    let name = folder.file_name().unwrap().to_str().unwrap();
    assert_eq!(errors, format!("{name}/endless\t{what}\n"));
    let made = folder.join(format!("out/{name}/whole/test_data_set_0/output_0.pb"));
    assert_eq!(
        load_tensor(&std::fs::read(made).unwrap()).unwrap(),
        *expected
    );
}

#[test]
fn a_test_over_time_is_stopped_and_the_next_one_passes() {
    let (folder, expected) = tests("batch_over_time");
    let begin = Instant::now();
    let args = args(&folder, "5");
    let out = tilewright(&args.iter().map(String::as_str).collect::<Vec<_>>());
    check(&folder, &expected, &out, "took longer than 5 s");
    // The rest is the other test on a busy machine.
    let time = begin.elapsed();
    assert!(
        time >= Duration::from_secs(5) && time < Duration::from_secs(30),
        "{time:?}"
    );
}

/// The child of a process, and seconds of processor time that it has used.
#[cfg(target_os = "linux")]
fn child_of(parent: u32) -> Option<(u32, f64)> {
    std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let path = entry.ok()?.path();
        let id = path.file_name()?.to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        // After the name, which ends with the last parenthesis: state, parent, .., and user time in hundredths as the 12th.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let user: f64 = fields.get(11)?.parse().ok()?;
        (fields.get(1)?.parse() == Ok(parent)).then_some((id, user / 100.0))
    })
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_that_dies_is_replaced() {
    let (folder, expected) = tests("batch_died");
    let suite = program()
        .args(args(&folder, "60"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let worker = loop {
        // It cannot have used as much before the loop.
        match child_of(suite.id()) {
            Some((id, used)) if used > 0.5 => break id,
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "no worker");
    };
    let killed = std::process::Command::new("kill")
        .args(["-9", &worker.to_string()])
        .status();
    assert!(killed.unwrap().success());
    let out = suite.wait_with_output().unwrap();
    check(
        &folder,
        &expected,
        &out,
        "the worker died (signal: 9 (SIGKILL))",
    );
}
