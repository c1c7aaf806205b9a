//! A small model, written as an ONNX message.

use tilewright::graph::Attr;
use tilewright::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use tilewright::onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use tilewright::onnx::{Result, encode_model, write_attribute, write_tensor};
use tilewright::{DType, HostTensor};

use crate::gated::{DOMAIN, NAME};

fn text(s: &str) -> Option<String> {
    Some(s.to_owned())
}

fn node(domain: &str, op: &str, inputs: [&str; 2], output: &str) -> NodeProto {
    NodeProto {
        domain: text(domain),
        op_type: text(op),
        input: inputs.map(String::from).into(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// A value of float32 with named sizes.
fn value(name: &str, sizes: &[&str]) -> ValueInfoProto {
    let dim = |size: &&str| Dimension {
        value: Some(dimension::Value::DimParam((*size).to_owned())),
        ..Dimension::default()
    };
    let shape = TensorShapeProto {
        dim: sizes.iter().map(dim).collect(),
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(tilewright::graph::attrs::dtype_code(DType::F32) as i32),
        shape: Some(shape),
    };
    ValueInfoProto {
        name: text(name),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// A model file: y = 2 GatedUnit(x + 1, beta), with x `[batch, channels, n]` and a beta for each channel.
///
/// # Errors
/// None that a caller can cause.
pub fn gated(alpha: f32, beta: &HostTensor) -> Result<Vec<u8>> {
    let no_graph = &mut |_: &_| Ok(GraphProto::default());
    let mut gate = node(DOMAIN, NAME, ["more", "beta"], "gated");
    gate.name = text("gate");
    gate.attribute = vec![write_attribute("alpha", &Attr::Float(alpha), no_graph)?];
    let graph = GraphProto {
        node: vec![
            node("", "Add", ["x", "one"], "more"),
            gate,
            node("", "Mul", ["gated", "two"], "y"),
        ],
        initializer: vec![
            write_tensor("one", &HostTensor::scalar(1f32)),
            write_tensor("two", &HostTensor::scalar(2f32)),
            write_tensor("beta", beta),
        ],
        input: vec![value("x", &["batch", "channels", "n"])],
        output: vec![value("y", &["batch", "channels", "n"])],
        ..GraphProto::default()
    };
    let import = |domain, version| OperatorSetIdProto {
        domain: text(domain),
        version: Some(version),
    };
    Ok(encode_model(&ModelProto {
        ir_version: Some(10),
        opset_import: vec![import("", 21), import(DOMAIN, 1)],
        graph: Some(graph),
        ..ModelProto::default()
    }))
}
