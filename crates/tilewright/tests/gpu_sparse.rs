//! Sparse weights from an ONNX file to results on the device: dense, and as block-sparse products.

mod common;
#[path = "common/message.rs"]
mod message;

use common::gpu;
use message::node;
use prost::Message;
use std::path::{Path, PathBuf};
use tilewright::graph::passes::{self, SparseOptions, sparse};
use tilewright::graph::{Graph, samples};
use tilewright::onnx::{NoExternalData, proto, read_model, read_model_file, write_tensor};
use tilewright::tensor::nmse;
use tilewright::{Gpu, GpuOptions, HostTensor, Model, ModelOptions, Session};

const HIDDEN: usize = 96;
const INPUTS: usize = 100;
const OUTPUTS: usize = 70;

/// The adapter as it is and with default limits.
fn gpus() -> Vec<Gpu> {
    let options = [GpuOptions::new(), GpuOptions::new().default_limits_only()];
    options.into_iter().filter_map(gpu).collect()
}

/// The stored elements of a `rows` x `cols` weight with a quarter of its 32 x 32 blocks: linear indices and values.
fn stored(rows: usize, cols: usize, seed: u64) -> (Vec<i64>, Vec<f32>) {
    let values: Vec<f32> = samples::uniform(&[rows, cols], seed).to_vec().unwrap();
    let kept = (0..rows * cols).filter(|at| (at / cols / 32 + at % cols / 32) % 4 == 1);
    kept.map(|at| (at as i64, values[at])).unzip()
}

fn dense(shape: [usize; 2], (at, values): &(Vec<i64>, Vec<f32>)) -> HostTensor {
    let mut all = vec![0.0f32; shape[0] * shape[1]];
    for (&at, &v) in at.iter().zip(values) {
        all[at as usize] = v;
    }
    HostTensor::from_vec(shape, all).unwrap()
}

fn sparse_proto(name: &str, [rows, cols]: [usize; 2], seed: u64) -> proto::SparseTensorProto {
    let (at, values) = stored(rows, cols, seed);
    proto::SparseTensorProto {
        values: Some(write_tensor(
            name,
            &HostTensor::from_vec([values.len()], values).unwrap(),
        )),
        indices: Some(write_tensor(
            "",
            &HostTensor::from_vec([at.len()], at).unwrap(),
        )),
        dims: vec![rows as i64, cols as i64],
    }
}

/// Rows by the name `batch`, of INPUTS floats.
fn input_type() -> proto::type_proto::Tensor {
    use proto::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |value| Dimension {
        value: Some(value),
        ..Default::default()
    };
    let shape = proto::TensorShapeProto {
        dim: vec![
            dim(Value::DimParam("batch".into())),
            dim(Value::DimValue(INPUTS as i64)),
        ],
    };
    proto::type_proto::Tensor {
        elem_type: Some(1),
        shape: Some(shape),
    }
}

/// `Gemm(Relu(x W1 + b), W2^T)` with sparse initialisers W1 and W2, and rows by the name `batch`.
fn model() -> Vec<u8> {
    let info = |name: &str, tensor| proto::ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(proto::TypeProto {
            value: Some(proto::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut gemm = node("Gemm", &["r", "w2"], "y");
    gemm.attribute.push(proto::AttributeProto {
        name: Some("transB".into()),
        r#type: Some(proto::attribute_proto::AttributeType::Int as i32),
        i: Some(1),
        ..Default::default()
    });
    let graph = proto::GraphProto {
        name: Some("sparse".into()),
        node: vec![
            node("MatMul", &["x", "w1"], "h"),
            node("Add", &["h", "b"], "s"),
            node("Relu", &["s"], "r"),
            gemm,
        ],
        sparse_initializer: vec![
            sparse_proto("w1", [INPUTS, HIDDEN], 1),
            sparse_proto("w2", [OUTPUTS, HIDDEN], 2),
        ],
        initializer: vec![write_tensor("b", &samples::uniform(&[HIDDEN], 3))],
        input: vec![info("x", input_type())],
        output: vec![proto::ValueInfoProto {
            name: Some("y".into()),
            ..Default::default()
        }],
        ..Default::default()
    };
    proto::ModelProto {
        ir_version: Some(9),
        opset_import: vec![proto::OperatorSetIdProto {
            domain: None,
            version: Some(21),
        }],
        graph: Some(graph),
        ..Default::default()
    }
    .encode_to_vec()
}

/// What the model says to `x`, by plain loops.
fn expected(x: &HostTensor) -> HostTensor {
    let w1 = dense([INPUTS, HIDDEN], &stored(INPUTS, HIDDEN, 1)).to_f64();
    let w2 = dense([OUTPUTS, HIDDEN], &stored(OUTPUTS, HIDDEN, 2)).to_f64();
    let (b, rows) = (samples::uniform(&[HIDDEN], 3).to_f64(), x.shape()[0]);
    let mut y = vec![];
    for x in x.to_f64().chunks(INPUTS) {
        let hidden = |j: usize| {
            let sum: f64 = (0..INPUTS).map(|i| x[i] * w1[i * HIDDEN + j]).sum();
            (sum + b[j]).max(0.0)
        };
        let hidden: Vec<f64> = (0..HIDDEN).map(hidden).collect();
        let out = |j: usize| {
            hidden
                .iter()
                .zip(&w2[j * HIDDEN..])
                .map(|(h, w)| h * w)
                .sum()
        };
        y.extend((0..OUTPUTS).map(out).collect::<Vec<f64>>());
    }
    HostTensor::from_f64(tilewright::DType::F32, [rows, OUTPUTS], y).unwrap()
}

fn names(graph: &Graph) -> Vec<&str> {
    let nodes = graph.nodes().iter().map(|n| n.op.name());
    nodes
        .filter(|n| !["Input", "Constant"].contains(n))
        .collect()
}

#[test]
fn sparse_initialisers_run_on_the_device() {
    let dense = read_model(model(), &NoExternalData).unwrap();
    let blocks = sparse(&dense, &SparseOptions::new()).unwrap();
    assert_eq!(names(&dense), ["MatMul", "Add", "Relu", "Gemm"]);
    assert_eq!(names(&blocks), ["BsrMatMul", "Add", "Relu", "BsrMatMul"]);
    for gpu in gpus() {
        let compiled = passes::device(&blocks, gpu.caps()).unwrap();
        assert_eq!(names(&compiled), ["Fused", "BsrMatMul"]);
        for graph in [&dense, &blocks] {
            let model = Model::new(graph.clone(), &gpu, ModelOptions::default());
            let mut session = Session::new(&model).unwrap();
            for rows in [1, 5, 40] {
                let x = samples::uniform(&[rows, INPUTS], 4);
                let outputs = tilewright::block_on(session.run(&[("x", x.clone())])).unwrap();
                let error = nmse(&outputs[0].1, &expected(&x)).unwrap();
                assert!(
                    error < 1e-10,
                    "{rows} rows of {:?}: {error:e}",
                    names(graph)
                );
            }
            assert!(session.host_steps().is_empty());
        }
    }
}

#[test]
fn models_without_sparse_weights_stay_as_they_are() {
    for name in ["digits", "digits_mlp"] {
        let bundle = std::env::var_os("TILEWRIGHT_BUNDLE").map(PathBuf::from);
        let root = bundle.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        let path = root.join(format!("examples/digits/{name}.onnx"));
        let graph = read_model_file(&path).unwrap();
        let after = sparse(&graph, &SparseOptions::new()).unwrap();
        assert_eq!(graph.to_string(), after.to_string(), "{name}");
    }
}
