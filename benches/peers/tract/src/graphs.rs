//! Work other than models as ONNX graphs of one to six nodes, which is how tract takes any work.

use peer_protocol::{Attention, Conv, Dtype, Gemm, Map, MapOp, Why, Work, floats};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto,
    ValueInfoProto, tensor_proto::DataType, type_proto,
};

/// LayerNormalization needs 17; Gelu came with 20, and exporters write it as its formula.
const OPSET: i64 = 17;

/// A graph under construction: its inputs have the protocol's data, in their order.
#[derive(Default)]
pub struct Graph {
    proto: GraphProto,
    /// Name and shape of each input.
    pub inputs: Vec<(String, Vec<usize>)>,
}

/// The graph of `work`, with its output named `y`.
pub fn of(work: &Work) -> Result<Graph, Why> {
    match work {
        Work::Gemm(gemm) => f32_only(gemm.dtype).map(|()| matmul(gemm)),
        Work::Conv(work) => f32_only(work.dtype).map(|()| conv(work)),
        Work::Attention(work) => f32_only(work.dtype).map(|()| attention(work)),
        Work::Map(work) => f32_only(work.dtype).map(|()| map(work)),
        Work::Model(_) => Err("a model is a graph already".to_owned()),
    }
}

fn f32_only(dtype: Dtype) -> Result<(), Why> {
    match dtype {
        Dtype::F32 => Ok(()),
        Dtype::F16 => Err("this peer makes its graphs in f32 only".to_owned()),
    }
}

fn matmul(gemm: &Gemm) -> Graph {
    let mut graph = Graph::default();
    if gemm.batch == 1 {
        graph.input("a", &[gemm.m, gemm.k]);
        graph.weight("b", 1, &[gemm.k, gemm.n]);
    } else {
        graph.input("a", &[gemm.batch, gemm.m, gemm.k]);
        graph.input("b", &[gemm.batch, gemm.k, gemm.n]);
    }
    graph.node("MatMul", &["a", "b"], "y", vec![]);
    graph
}

fn conv(work: &Conv) -> Graph {
    let mut graph = Graph::default();
    graph.input("x", &[work.n, work.c, work.h, work.w]);
    graph.weight("w", 1, &work.weights());
    let attributes = vec![
        ints("kernel_shape", &work.kernel),
        ints("strides", &work.stride),
        ints("pads", &work.pad),
        ints("dilations", &work.dilation),
        int("group", work.groups as i64),
    ];
    graph.node("Conv", &["x", "w"], "y", attributes);
    graph
}

fn attention(work: &Attention) -> Graph {
    let mut graph = Graph::default();
    let of_len = |len| [work.batch, work.heads, len, work.head];
    graph.input("q", &of_len(work.queries));
    graph.input("k", &of_len(work.keys));
    graph.input("v", &of_len(work.keys));
    let transpose = vec![ints("perm", &[0, 1, 3, 2])];
    graph.node("Transpose", &["k"], "kt", transpose);
    graph.node("MatMul", &["q", "kt"], "products", vec![]);
    graph.constant("scale", &[], &[1.0 / (work.head as f32).sqrt()]);
    graph.node("Mul", &["products", "scale"], "scaled", vec![]);
    let scores = if work.causal {
        let (queries, keys) = (work.queries, work.keys);
        let masked = |i: usize| i % keys > i / keys;
        let mask = (0..queries * keys).map(|i| if masked(i) { f32::NEG_INFINITY } else { 0.0 });
        graph.constant("mask", &[queries, keys], &mask.collect::<Vec<_>>());
        graph.node("Add", &["scaled", "mask"], "scores", vec![]);
        "scores"
    } else {
        "scaled"
    };
    graph.node("Softmax", &[scores], "weights", vec![int("axis", -1)]);
    graph.node("MatMul", &["weights", "v"], "y", vec![]);
    graph
}

fn map(work: &Map) -> Graph {
    let mut graph = Graph::default();
    graph.input("x", &[work.rows, work.cols]);
    match work.op {
        MapOp::Add => {
            graph.input("x2", &[work.rows, work.cols]);
            graph.node("Add", &["x", "x2"], "y", vec![]);
        }
        MapOp::Relu => graph.node("Relu", &["x"], "y", vec![]),
        MapOp::Gelu => {
            graph.constant("root2", &[], &[std::f32::consts::SQRT_2]);
            graph.constant("one", &[], &[1.0]);
            graph.constant("half", &[], &[0.5]);
            graph.node("Div", &["x", "root2"], "z", vec![]);
            graph.node("Erf", &["z"], "erf", vec![]);
            graph.node("Add", &["erf", "one"], "cdf2", vec![]);
            graph.node("Mul", &["x", "cdf2"], "y2", vec![]);
            graph.node("Mul", &["y2", "half"], "y", vec![]);
        }
        MapOp::Softmax => graph.node("Softmax", &["x"], "y", vec![int("axis", -1)]),
        MapOp::LayerNorm => {
            graph.constant("ones", &[work.cols], &vec![1.0; work.cols]);
            let attributes = vec![int("axis", -1), float("epsilon", 1e-5)];
            graph.node("LayerNormalization", &["x", "ones"], "y", attributes);
        }
    }
    graph
}

impl Graph {
    fn input(&mut self, name: &str, shape: &[usize]) {
        let element = type_proto::Tensor {
            elem_type: DataType::Float as i32,
            shape: None,
        };
        self.proto.input.push(ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(element)),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        });
        self.inputs.push((name.to_owned(), shape.to_vec()));
    }

    /// A constant with the data of tensor number `number`.
    fn weight(&mut self, name: &str, number: u32, shape: &[usize]) {
        let data = floats(number, shape.iter().product());
        self.constant(name, shape, &data);
    }

    fn constant(&mut self, name: &str, shape: &[usize], data: &[f32]) {
        self.proto.initializer.push(TensorProto {
            name: name.to_owned(),
            dims: shape.iter().map(|&dim| dim as i64).collect(),
            data_type: DataType::Float as i32,
            float_data: data.to_vec(),
            ..TensorProto::default()
        });
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.proto.node.push(NodeProto {
            name: output.to_owned(),
            op_type: op.to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
    }

    /// The finished model.
    pub fn model(mut self) -> ModelProto {
        self.proto.output.push(ValueInfoProto {
            name: "y".to_owned(),
            ..ValueInfoProto::default()
        });
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
            graph: Some(self.proto),
            ..ModelProto::default()
        }
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: kind as i32,
        ..AttributeProto::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        i,
        ..attribute(name, AttributeType::Int)
    }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        f,
        ..attribute(name, AttributeType::Float)
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        ints: values.iter().map(|&value| value as i64).collect(),
        ..attribute(name, AttributeType::Ints)
    }
}
