//! Small models, written as messages.

use tilewright::graph::Attr;
use tilewright::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use tilewright::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
    type_proto,
};
use tilewright::onnx::{write_attribute, write_tensor};
use tilewright::{DType, HostTensor};

/// The operator set of the models here.
pub(crate) const OPSET: i64 = 21;

/// A graph under construction.
#[derive(Clone, Default)]
pub(crate) struct Net(pub(crate) GraphProto);

impl Net {
    pub(crate) fn new() -> Net {
        Net::default()
    }

    /// An input; a size is a number or a name.
    pub(crate) fn input(mut self, name: &str, dtype: DType, shape: &[&str]) -> Net {
        self.0.input.push(value_info(name, dtype, Some(shape)));
        self
    }

    /// An input of unknown rank.
    pub(crate) fn any(mut self, name: &str, dtype: DType) -> Net {
        self.0.input.push(value_info(name, dtype, None));
        self
    }

    pub(crate) fn init(mut self, name: &str, tensor: &HostTensor) -> Net {
        self.0.initializer.push(write_tensor(name, tensor));
        self
    }

    /// A one-dimensional initialiser of integers.
    pub(crate) fn ints(self, name: &str, values: &[i64]) -> Net {
        let tensor = HostTensor::from_slice([values.len()], values).unwrap();
        self.init(name, &tensor)
    }

    pub(crate) fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attrs: &[(&str, Attr)],
    ) -> Net {
        self.0.node.push(node(op, inputs, outputs, attrs));
        self
    }

    /// The last node gets a subgraph.
    pub(crate) fn body(mut self, attribute: &str, body: Net) -> Net {
        let body = AttributeProto {
            name: Some(attribute.to_owned()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(body.0),
            ..AttributeProto::default()
        };
        self.0.node.last_mut().unwrap().attribute.push(body);
        self
    }

    pub(crate) fn output(mut self, name: &str) -> Net {
        let info = ValueInfoProto {
            name: Some(name.to_owned()),
            ..ValueInfoProto::default()
        };
        self.0.output.push(info);
        self
    }

    pub(crate) fn model(self) -> ModelProto {
        ModelProto {
            ir_version: Some(10),
            opset_import: vec![import("", OPSET), import("here", 1)],
            graph: Some(self.0),
            ..ModelProto::default()
        }
    }
}

pub(crate) fn import(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&n| n.to_owned()).collect()
}

pub(crate) fn node(
    op: &str,
    inputs: &[&str],
    outputs: &[&str],
    attrs: &[(&str, Attr)],
) -> NodeProto {
    let (domain, op) = op.split_once(':').unwrap_or(("", op));
    let attribute = |(name, attr): &(&str, Attr)| {
        write_attribute(name, attr, &mut |_| Ok(GraphProto::default())).unwrap()
    };
    NodeProto {
        op_type: Some(op.to_owned()),
        domain: Some(domain.to_owned()),
        name: Some(format!("{op} of {}", outputs.first().unwrap_or(&""))),
        input: strings(inputs),
        output: strings(outputs),
        attribute: attrs.iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}

/// A function of the domain `here`.
pub(crate) fn function(
    name: &str,
    inputs: &[&str],
    outputs: &[&str],
    nodes: Vec<NodeProto>,
) -> FunctionProto {
    FunctionProto {
        name: Some(name.to_owned()),
        domain: Some("here".to_owned()),
        input: strings(inputs),
        output: strings(outputs),
        node: nodes,
        opset_import: vec![import("", OPSET), import("here", 1)],
        ..FunctionProto::default()
    }
}

pub(crate) fn value_info(name: &str, dtype: DType, shape: Option<&[&str]>) -> ValueInfoProto {
    let size = |size: &&str| Dimension {
        denotation: None,
        value: Some(match size.parse() {
            Ok(n) => dimension::Value::DimValue(n),
            Err(_) => dimension::Value::DimParam((*size).to_owned()),
        }),
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(tilewright::graph::attrs::dtype_code(dtype) as i32),
        shape: shape.map(|s| TensorShapeProto {
            dim: s.iter().map(size).collect(),
        }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            denotation: None,
            value: Some(type_proto::Value::TensorType(tensor)),
        }),
        ..ValueInfoProto::default()
    }
}

/// A tensor that claims `dims` whatever its data.
pub(crate) fn claim(name: &str, dims: &[i64], raw: &'static [u8]) -> TensorProto {
    let tensor = write_tensor(name, &HostTensor::scalar(0.0f32));
    TensorProto {
        dims: dims.to_vec(),
        raw_data: Some(raw.into()),
        ..tensor
    }
}

/// Floats between -1 and 1.
pub(crate) fn ramp(shape: &[usize]) -> HostTensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
    HostTensor::from_vec(shape.to_vec(), values).unwrap()
}

pub(crate) fn ints(values: &[i64]) -> Attr {
    Attr::Ints(values.to_vec())
}

/// Zeros.
pub(crate) fn floats(shape: &[usize]) -> HostTensor {
    HostTensor::zeros(DType::F32, shape).unwrap()
}

/// The smallest model.
pub(crate) fn relu() -> Net {
    let net = Net::new().input("x", DType::F32, &["2"]);
    net.node("Relu", &["x"], &["y"], &[]).output("y")
}

/// A message must hold these parts.
#[track_caller]
pub(crate) fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "no `{part}` in: {error}");
    }
}
