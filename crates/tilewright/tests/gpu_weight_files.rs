//! Weights that stay in their files: read when they are needed, and again for a new device, or a typed error.

mod common;
#[path = "common/message.rs"]
mod message;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use message::node;
use prost::Message;
use tilewright::graph::{Error, Graph, samples};
use tilewright::onnx::proto::{self, TensorProto, tensor_proto::DataLocation};
use tilewright::onnx::{self, Bytes, NoExternalData, read_model, read_model_file, write_tensor};
use tilewright::tensor::nmse;
use tilewright::{DType, Gpu, GpuOptions, HostTensor, Model, ModelOptions, Session};

const K: usize = 300;
const N: usize = 200;
const BYTES: u64 = (4 * K * N) as u64;

fn gpu() -> Option<Gpu> {
    common::gpu(GpuOptions::new())
}

/// A fresh folder, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = format!("tilewright-weights-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn weight() -> HostTensor {
    samples::uniform(&[K, N], 1)
}

/// The same weight outside the model file, after 64 other bytes.
fn outside() -> (TensorProto, Vec<u8>) {
    let entry = |key: &str, value: &str| proto::StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    let proto = TensorProto {
        raw_data: None,
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", "w.bin"), entry("offset", "64")],
        ..write_tensor("w", &weight())
    };
    (proto, [&[7; 64], weight().bytes()].concat())
}

/// x w + c, with `w` among the initialisers and the large c in a Constant.
fn model(w: TensorProto) -> Vec<u8> {
    use proto::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |value| Dimension {
        value: Some(value),
        ..Default::default()
    };
    let rows = dim(Value::DimParam("rows".into()));
    let tensor = proto::type_proto::Tensor {
        elem_type: Some(1),
        shape: Some(proto::TensorShapeProto {
            dim: vec![rows, dim(Value::DimValue(K as i64))],
        }),
    };
    let info = |name: &str, tensor| proto::ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(proto::TypeProto {
            value: Some(proto::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut constant = node("Constant", &[], "c");
    constant.attribute.push(proto::AttributeProto {
        name: Some("value".into()),
        r#type: Some(proto::attribute_proto::AttributeType::Tensor as i32),
        t: Some(write_tensor("c", &samples::uniform(&[N, N], 2))),
        ..Default::default()
    });
    let graph = proto::GraphProto {
        name: Some("weights".into()),
        node: vec![
            constant,
            node("MatMul", &["x", "w"], "h"),
            node("MatMul", &["h", "c"], "y"),
        ],
        initializer: vec![w],
        input: vec![info("x", tensor.clone())],
        output: vec![info("y", tensor)],
        ..Default::default()
    };
    let model = proto::ModelProto {
        ir_version: Some(10),
        opset_import: vec![proto::OperatorSetIdProto {
            version: Some(21),
            ..Default::default()
        }],
        graph: Some(graph),
        ..Default::default()
    };
    model.encode_to_vec()
}

fn check(session: &mut Session, rows: usize) {
    let x = samples::uniform(&[rows, K], rows as u64);
    let got = tilewright::block_on(session.run(&[("x", x.clone())])).unwrap();
    let product = |a: &HostTensor, b: &HostTensor| {
        let ([m, k], n) = ([a.shape()[0], a.shape()[1]], b.shape()[1]);
        let (a, b) = (a.to_f64(), b.to_f64());
        let sum = |at: usize| (0..k).map(|i| a[at / n * k + i] * b[i * n + at % n]).sum();
        HostTensor::from_f64(DType::F32, [m, n], (0..m * n).map(sum).collect()).unwrap()
    };
    let want = product(&product(&x, &weight()), &samples::uniform(&[N, N], 2));
    let error = nmse(&got[0].1, &want).unwrap();
    assert!(error < 1e-10, "{error:e}");
}

/// The error of running `graph` on a device, which must be one about the tensor `w` in `file`.
fn fails(model: &Model, file: &Path, kind: std::io::ErrorKind) {
    let mut session = Session::new(model).unwrap();
    let x = samples::uniform(&[2, K], 1);
    let error = tilewright::block_on(session.run(&[("x", x)])).unwrap_err();
    let Error::Node { source, .. } = error else {
        panic!("{error}");
    };
    let Error::Weight {
        name,
        place,
        source,
    } = *source
    else {
        panic!("{source}");
    };
    assert_eq!((name.as_str(), source.kind()), ("w", kind), "{source}");
    assert_eq!(Path::new(&place), file);
}

/// Reads, runs, loses the file `lost` and gets a new device.
fn deleted(folder: &Folder, graph: Graph, lost: &Path) {
    let Some(first) = gpu() else { return };
    let lost = lost.canonicalize().unwrap();
    let model = Model::new(graph, &first, ModelOptions::default());
    assert_eq!(model.memory_stats().host_weights, 0);
    let mut session = Session::new(&model).unwrap();
    check(&mut session, 3);
    let stats = model.memory_stats();
    assert_eq!(stats.host_weights, 0);
    assert!((BYTES..2 * BYTES).contains(&(stats.weights - 4 * (N * N) as u64)));
    // The same bytes at another time are not trusted.
    let bytes = std::fs::read(&lost).unwrap();
    let second = model.on(&first);
    std::fs::remove_file(&lost).unwrap();
    check(&mut session, 5);
    fails(&second, &lost, std::io::ErrorKind::NotFound);
    folder.write(lost.file_name().unwrap().to_str().unwrap(), &bytes[1..]);
    fails(&second, &lost, std::io::ErrorKind::InvalidData);
    let file = std::fs::File::create(&lost).unwrap();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    fails(&second, &lost, std::io::ErrorKind::InvalidData);
    check(&mut session, 7);
}

#[test]
fn weights_of_a_model_file_are_read_when_needed() {
    let folder = Folder::new("inside");
    let path = folder.write("model.onnx", &model(write_tensor("w", &weight())));
    deleted(&folder, read_model_file(&path).unwrap(), &path);
}

#[test]
fn weights_outside_the_model_file_are_read_when_needed() {
    let folder = Folder::new("outside");
    let (proto, bytes) = outside();
    let data = folder.write("w.bin", &bytes);
    let path = folder.write("model.onnx", &model(proto));
    let graph = read_model_file(&path).unwrap();
    deleted(&folder, graph, &data);
}

#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_a_file_is_not_followed() {
    let Some(gpu) = gpu() else { return };
    let folder = Folder::new("link");
    let path = folder.write("model.onnx", &model(write_tensor("w", &weight())));
    let model = Model::new(
        read_model_file(&path).unwrap(),
        &gpu,
        ModelOptions::default(),
    );
    let (path, other) = (path.canonicalize().unwrap(), folder.0.join("other"));
    std::fs::rename(&path, &other).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    fails(&model, &path, std::io::ErrorKind::InvalidData);
}

#[test]
fn bytes_in_memory_are_shared_and_counted() {
    let Some(gpu) = gpu() else { return };
    let (proto, outside) = outside();
    let files = HashMap::from([("w.bin".to_owned(), Bytes::from(outside))]);
    let read = |graph: onnx::Result<Graph>| {
        let model = Model::new(graph.unwrap(), &gpu, ModelOptions::default());
        let mut session = Session::new(&model).unwrap();
        for rows in [3, 1, 3] {
            check(&mut session, rows);
            let held = model.memory_stats().host_weights;
            assert_eq!(held, BYTES + 4 * (N * N) as u64, "the bytes, and no copy");
        }
        check(&mut Session::new(&model.on(&gpu)).unwrap(), 2);
    };
    read(read_model(model(proto), &files));
    read(read_model(
        model(write_tensor("w", &weight())),
        &NoExternalData,
    ));
}
