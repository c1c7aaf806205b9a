//! Models as messages.

use tilewright_graph::Attrs;
use tilewright_graph::attrs::dtype_code;
use tilewright_onnx::proto::tensor_shape_proto::{Dimension, dimension};
use tilewright_onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use tilewright_onnx::write_attribute;
use tilewright_tensor::HostTensor;

/// A value of no stated type.
pub(crate) fn named(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.into()),
        ..ValueInfoProto::default()
    }
}

/// An input as a model declares it.
pub(crate) fn declared(name: &str, t: &HostTensor, shape: bool) -> ValueInfoProto {
    let dim = |&n: &usize| Dimension {
        value: Some(dimension::Value::DimValue(n as i64)),
        ..Dimension::default()
    };
    let shape = shape.then(|| TensorShapeProto {
        dim: t.shape().iter().map(dim).collect(),
    });
    let tensor = type_proto::Tensor {
        elem_type: Some(dtype_code(t.dtype()) as i32),
        shape,
    };
    ValueInfoProto {
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..named(name)
    }
}

/// A node that reads `input` and makes `output`.
pub(crate) fn node(attrs: &Attrs, input: &[&str], output: &str) -> NodeProto {
    let no_graph = &mut |_: &_| Ok(GraphProto::default());
    let attribute = attrs.iter();
    let attribute = attribute.map(|(name, attr)| write_attribute(name, attr, no_graph).unwrap());
    NodeProto {
        op_type: Some(attrs.op().into()),
        attribute: attribute.collect(),
        input: input.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

/// A model of this version of ONNX's operators, and of version 1 of those of `here`.
pub(crate) fn model(opset: i64, graph: GraphProto) -> ModelProto {
    let import = |domain: &str, version: i64| OperatorSetIdProto {
        domain: Some(domain.into()),
        version: Some(version),
    };
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![import("", opset), import("here", 1)],
        graph: Some(graph),
        ..ModelProto::default()
    }
}
