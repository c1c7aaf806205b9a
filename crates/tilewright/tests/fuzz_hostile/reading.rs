//! Hostile files: each is a typed error of the reader that says what is wrong and where, within its memory.

use prost::Message;
use tilewright::graph::{Attr, Error as GraphError};
use tilewright::onnx::proto::{ModelProto, SparseTensorProto, StringStringEntryProto, TensorProto};
use tilewright::onnx::{Bytes, Error, NoExternalData, read_model, read_model_file};
use tilewright::{DType, HostTensor};

use crate::alloc::peak_of;
use crate::build::{Net, claim, floats, function, import, node, relu, says};

/// The error of reading a model.
fn refused(model: &ModelProto) -> Error {
    let file = model.encode_to_vec();
    let (result, peak) = peak_of(|| read_model(file.clone(), &NoExternalData));
    assert!(peak < 64 << 20, "{peak} bytes in use");
    match result {
        Err(error) => error,
        Ok(graph) => panic!("was read:\n{graph}"),
    }
}

#[test]
fn truncated_files() {
    let file = crate::nets::nets()[0].file.clone();
    for length in 0..file.len() {
        match read_model(file[..length].to_vec(), &NoExternalData) {
            // An end between two fields is that of a shorter message.
            Ok(_)
            | Err(Error::Decode { .. } | Error::Model { .. } | Error::UnknownOperator { .. }) => {}
            Err(error) => panic!("{length} bytes: {error}"),
        }
    }
    assert!(matches!(
        read_model(file[..file.len() / 2].to_vec(), &NoExternalData),
        Err(Error::Decode { .. })
    ));
    assert!(matches!(
        read_model(vec![], &NoExternalData),
        Err(Error::Model { .. })
    ));
}

/// Weights are left in the file's bytes, or in the file.
#[test]
fn large_weights_are_not_copied() {
    let weight = HostTensor::zeros(DType::F32, [1 << 22]).unwrap();
    let (size, slack) = (16 << 20, 1 << 20);
    let file = relu().init("w", &weight).output("w").model();
    let file = file.encode_to_vec();
    let bytes = Bytes::from(file.clone());
    let (graph, peak) = peak_of(|| read_model(bytes, &NoExternalData).unwrap());
    assert!(peak < slack, "{peak} bytes beside the file's");
    drop(graph);
    let path = std::env::temp_dir().join(format!("tilewright-large-{}", std::process::id()));
    std::fs::write(&path, &file).unwrap();
    let (graph, peak) = peak_of(|| read_model_file(&path).unwrap());
    assert!(peak < size + slack, "{peak} bytes for a file of {size}");
    drop(graph);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn impossible_extents() {
    let with = |tensor: TensorProto| {
        let mut net = relu();
        net.0.initializer.push(tensor);
        refused(&net.model())
    };
    let error = with(claim("w", &[1 << 40, 1 << 40], b"abcd"));
    assert!(matches!(error, Error::Tensor { .. }), "{error}");
    says(&error.to_string(), &["`w`"]);
    let error = with(claim("w", &[1 << 31], b"abcd"));
    assert!(matches!(error, Error::Data { .. }), "{error}");
    says(&error.to_string(), &["`w`", "8589934592", "got 4"]);
    let error = with(claim("w", &[-1], b"abcd"));
    assert!(matches!(error, Error::Tensor { .. }), "{error}");
    let error = with(claim("w", &[i64::MAX, 0, 3], b""));
    assert!(matches!(error, Error::Tensor { .. }), "{error}");
    let error = refused(
        &Net::new()
            .input("x", DType::F32, &["-3"])
            .output("x")
            .model(),
    );
    assert!(matches!(error, Error::Data { .. }), "{error}");
    says(&error.to_string(), &["`x`", "-3"]);
}

#[test]
fn sparse_tensors_that_are_huge_when_dense() {
    let mut net = relu();
    net.0.sparse_initializer.push(SparseTensorProto {
        values: Some(claim("s", &[0], b"")),
        indices: Some(TensorProto {
            data_type: Some(7),
            ..claim("", &[0], b"")
        }),
        dims: vec![1 << 14, 1 << 14],
    });
    let error = refused(&net.model());
    assert!(matches!(error, Error::Data { .. }), "{error}");
    says(&error.to_string(), &["`s`"]);
}

#[test]
fn element_types_that_are_none() {
    for (code, name) in [(8, "string"), (14, "complex64"), (99, "number 99")] {
        let mut net = relu();
        net.0.initializer.push(TensorProto {
            data_type: Some(code),
            ..claim("w", &[1], b"abcd")
        });
        let error = refused(&net.model());
        assert!(matches!(error, Error::ElementType { .. }), "{error}");
        says(&error.to_string(), &["`w`", name]);
    }
}

#[test]
fn cycles_and_missing_edges() {
    let own = Net::new().node("Relu", &["y"], &["y"], &[]).output("y");
    says(
        &refused(&own.model()).to_string(),
        &["Relu of y", "reads `y`"],
    );
    let ring = Net::new()
        .node("Relu", &["b"], &["a"], &[])
        .node("Relu", &["a"], &["b"], &[])
        .output("b");
    says(
        &refused(&ring.model()).to_string(),
        &["Relu of a", "reads `b`"],
    );
    let error = refused(&relu().node("Add", &["y", "nowhere"], &["z"], &[]).model());
    assert!(matches!(error, Error::Model { .. }), "{error}");
    says(&error.to_string(), &["Add of z", "`nowhere`"]);
    says(
        &refused(&relu().output("ghost").model()).to_string(),
        &["`ghost`"],
    );
}

#[test]
fn missing_inputs() {
    let error = refused(&relu().node("Conv", &["y"], &["z"], &[]).model());
    assert!(
        matches!(error, Error::Graph(GraphError::Node { .. })),
        "{error}"
    );
    says(&error.to_string(), &["Conv of z", "input 1 is missing"]);
    says(
        &refused(&relu().node("Add", &["", "y"], &["z"], &[]).model()).to_string(),
        &["Add of z", "missing"],
    );
    let linear = ["y", "", "y", "y", "y", "y", "y", "y"];
    let linear = relu().node("QLinearConv", &linear, &["z"], &[]);
    says(
        &refused(&linear.model()).to_string(),
        &["QLinearConv of z", "input 1 is missing"],
    );
}

/// The first input of opset 8's Scan may be left out, but not its place.
#[test]
fn missing_places() {
    let body = Net::new()
        .input("a", DType::F32, &["2"])
        .node("Relu", &["a"], &["b"], &[])
        .output("b");
    let scan = relu().node("Scan", &[], &["z"], &[("num_scan_inputs", Attr::Int(1))]);
    let mut model = scan.body("body", body).model();
    model.opset_import = vec![import("", 8)];
    says(&refused(&model).to_string(), &["Scan of z", "input 0"]);
}

#[test]
fn names_twice() {
    let twice = relu().node("Exp", &["x"], &["y"], &[]);
    says(
        &refused(&twice.model()).to_string(),
        &["`y` is defined twice"],
    );
    let twice = relu().input("x", DType::F32, &["2"]);
    says(&refused(&twice.model()).to_string(), &["`x`", "twice"]);
    let twice = relu().init("w", &floats(&[1])).init("w", &floats(&[2]));
    says(&refused(&twice.model()).to_string(), &["`w`", "twice"]);
}

#[test]
fn outside_data_stays_outside() {
    let folder = std::env::temp_dir().join(format!("tilewright-hostile-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("model")).unwrap();
    std::fs::write(folder.join("secret"), [0u8; 64]).unwrap();
    let secret = folder.join("secret");
    for location in [
        "../secret",
        "../../etc/passwd",
        "/etc/passwd",
        secret.to_str().unwrap(),
        "x/../../secret",
        "",
        ".",
    ] {
        let entry = |key: &str, value: &str| StringStringEntryProto {
            key: Some(key.into()),
            value: Some(value.into()),
        };
        let mut net = relu();
        net.0.initializer.push(TensorProto {
            raw_data: None,
            data_location: Some(1),
            external_data: vec![entry("location", location), entry("length", "4")],
            ..claim("w", &[1], b"")
        });
        let path = folder.join("model/model.onnx");
        let model = net.model();
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        match read_model_file(&path).unwrap_err() {
            Error::External {
                name,
                location: told,
                source,
            } => {
                assert_eq!((name.as_str(), told.as_str()), ("w", location));
                assert_eq!(
                    source.kind(),
                    std::io::ErrorKind::PermissionDenied,
                    "{location}"
                );
            }
            error => panic!("{location}: {error}"),
        }
        assert!(matches!(refused(&model), Error::External { .. }));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn functions_without_end() {
    let mut model = Net::new()
        .input("x", DType::F32, &["2"])
        .node("here:F", &["x"], &["y"], &[])
        .output("y")
        .model();
    model.functions = vec![function(
        "F",
        &["a"],
        &["b"],
        vec![node("here:F", &["a"], &["b"], &[])],
    )];
    says(&refused(&model).to_string(), &["F of b", "deeper than"]);
    // Each calls the next four times.
    model.functions = (0..20)
        .map(|i| {
            let own = if i == 0 {
                "F".to_owned()
            } else {
                format!("F{i}")
            };
            let next = format!("here:F{}", i + 1);
            let calls = ["a", "m", "n", "o", "b"];
            let calls = calls.windows(2).map(|w| node(&next, &w[..1], &w[1..], &[]));
            function(&own, &["a"], &["b"], calls.collect())
        })
        .collect();
    model.functions.push(function(
        "F20",
        &["a"],
        &["b"],
        vec![node("Add", &["a", "a"], &["b"], &[])],
    ));
    let error = refused(&model);
    assert!(matches!(error, Error::Model { .. }), "{error}");
    says(&error.to_string(), &["expands to more than"]);
    let twice = function("F", &["a"], &["b"], vec![]);
    model.functions = vec![twice.clone(), twice];
    says(&refused(&model).to_string(), &["`F`", "twice"]);
}

#[test]
fn operators_that_are_none() {
    // Not even those that graphs have when they are read.
    for op in [
        "Frobnicate",
        "Input",
        "State",
        "Sizes",
        "Map",
        "Fused",
        "BsrMatMul",
        "Interleave",
    ] {
        let error = refused(&relu().node(op, &["x"], &["z"], &[]).model());
        assert!(matches!(error, Error::UnknownOperator { .. }), "{error}");
        says(&error.to_string(), &[&format!("{op} of z")]);
    }
    for version in [0, -1, 9999, i64::MAX, i64::MIN] {
        let mut model = relu().model();
        model.opset_import = vec![import("", version)];
        let error = refused(&model).to_string();
        says(&error, &[&version.to_string()]);
    }
    let unknown = relu().node("elsewhere:Relu", &["x"], &["z"], &[]);
    says(
        &refused(&unknown.model()).to_string(),
        &["Relu of z", "elsewhere"],
    );
}
