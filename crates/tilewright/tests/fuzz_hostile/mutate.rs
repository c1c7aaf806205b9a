//! Damage to a model: to its bytes, or to the fields of its messages.

use prost::Message;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, RngExt};
use tilewright::graph::Op;
use tilewright::onnx::decode_model;
use tilewright::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use tilewright::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto,
};

/// Integers that programs get wrong, among some that they get right.
const INTS: [i64; 24] = [
    0,
    -1,
    1,
    2,
    3,
    5,
    7,
    16,
    255,
    1000,
    65_536,
    -2,
    -3,
    1 << 31,
    (1 << 31) - 1,
    -(1 << 31),
    1 << 32,
    1 << 40,
    1 << 62,
    1 << 63 >> 1,
    i64::MAX,
    i64::MAX - 1,
    i64::MIN,
    i64::MIN + 1,
];

const FLOATS: [f32; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1e-40,
    1e30,
    f32::MAX,
    f32::MIN,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
];

/// Words that some attribute of some operator has.
const WORDS: [&str; 20] = [
    "",
    "linear",
    "cubic",
    "nearest",
    "bilinear",
    "constant",
    "reflect",
    "edge",
    "wrap",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "NOTSET",
    "align_corners",
    "tf_crop_and_resize",
    "reverse",
    "bidirectional",
    "ij,jk->ik",
    "...i,i->...",
    "none",
];

pub(crate) fn int(rng: &mut impl Rng) -> i64 {
    INTS.choose(rng).copied().unwrap_or(0)
}

pub(crate) fn float(rng: &mut impl Rng) -> f32 {
    FLOATS.choose(rng).copied().unwrap_or(0.0)
}

/// What damage draws on.
struct Stock<'a> {
    /// Nodes whose operators and attributes others are given.
    donors: &'a [NodeProto],
    /// The values of the model.
    names: Vec<String>,
}

impl Stock<'_> {
    fn name(&self, rng: &mut StdRng) -> String {
        self.names.choose(rng).cloned().unwrap_or_default()
    }
}

/// A damaged copy of a model.
pub(crate) fn mutate(file: &[u8], donors: &[NodeProto], rng: &mut StdRng) -> Vec<u8> {
    if rng.random_bool(0.01) {
        return noise(rng);
    }
    let structured = rng.random_bool(0.85);
    let mut out = match decode_model(file.to_vec()) {
        Ok(mut model) if structured => {
            for _ in 0..rng.random_range(1..=3) {
                damage_model(&mut model, donors, rng);
            }
            model.encode_to_vec()
        }
        _ => file.to_vec(),
    };
    if !structured || rng.random_bool(0.05) {
        for _ in 0..rng.random_range(1..=3) {
            damage_bytes(&mut out, rng);
        }
    }
    out
}

fn noise(rng: &mut StdRng) -> Vec<u8> {
    let length = rng.random_range(0..200);
    (0..length).map(|_| byte(rng)).collect()
}

/// Any byte, more often one of those that tags and lengths are spoilt by.
fn byte(rng: &mut StdRng) -> u8 {
    match rng.random_range(0..8) {
        at @ 0..4 => [0, 0x7f, 0x80, 0xff][at],
        _ => rng.random(),
    }
}

/// A place in a file of `length` bytes: four of five times in its first 400 or last 100, where a small model has its
/// structure. In weights damage is only another number.
fn place(length: usize, rng: &mut StdRng) -> usize {
    let near = rng.random_range(0..500);
    match rng.random_range(0..5) {
        0 => rng.random_range(0..length),
        _ if near < 400 => near.min(length - 1),
        _ => length.saturating_sub(near - 399),
    }
}

fn damage_bytes(file: &mut Vec<u8>, rng: &mut StdRng) {
    if file.is_empty() {
        return;
    }
    let at = place(file.len(), rng);
    let length = rng.random_range(1..=16.min(file.len() - at));
    match rng.random_range(0..7) {
        0 => file.truncate(at),
        1 => file[at] ^= 1 << rng.random_range(0..8),
        2 => file[at] = byte(rng),
        3 => {
            let new: Vec<u8> = (0..length).map(|_| byte(rng)).collect();
            file.splice(at..at, new);
        }
        4 => drop(file.drain(at..at + length)),
        5 => {
            let again = file[at..at + length].to_vec();
            file.splice(at..at, again);
        }
        _ => {
            // A number of ten bytes, the largest there is, over whatever is here.
            let end = (at + length).min(file.len());
            file.splice(
                at..end,
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            );
        }
    }
}

fn damage_model(model: &mut ModelProto, donors: &[NodeProto], rng: &mut StdRng) {
    let stock = Stock {
        donors,
        names: names(model),
    };
    match rng.random_range(0..40) {
        0 => {
            for set in &mut model.opset_import {
                let small = rng.random_range(1..=NEWEST);
                set.version = Some(if rng.random_bool(0.8) {
                    small
                } else {
                    int(rng)
                });
            }
        }
        1 if !model.functions.is_empty() => {
            let function = model.functions.iter_mut().choose(rng);
            if let Some(function) = function {
                damage_nodes(&mut function.node, &stock, rng);
            }
        }
        2 => model
            .opset_import
            .truncate(rng.random_range(0..=model.opset_import.len())),
        _ => {
            if let Some(graph) = &mut model.graph {
                damage_graph(graph, &stock, rng);
            }
        }
    }
}

const NEWEST: i64 = tilewright::onnx::NEWEST_OPSET + 1;

/// The names of values, for edges to where there were none.
fn names(model: &ModelProto) -> Vec<String> {
    let mut names = vec![String::new(), "nowhere".to_owned()];
    if let Some(graph) = &model.graph {
        names.extend(graph.input.iter().map(|i| i.name().to_owned()));
        names.extend(graph.initializer.iter().map(|t| t.name().to_owned()));
        names.extend(graph.node.iter().flat_map(|n| n.output.clone()));
    }
    names
}

fn damage_graph(graph: &mut GraphProto, stock: &Stock<'_>, rng: &mut StdRng) {
    // Into a subgraph, often enough.
    let inner = graph
        .node
        .iter()
        .position(|n| n.attribute.iter().any(|a| a.g.is_some()));
    if let Some(at) = inner
        && rng.random_bool(0.5)
    {
        let bodies = graph.node[at]
            .attribute
            .iter_mut()
            .filter_map(|a| a.g.as_mut());
        if let Some(body) = bodies.choose(rng) {
            return damage_graph(body, stock, rng);
        }
    }
    match rng.random_range(0..16) {
        0 | 6 | 7 | 8 => damage_infos(&mut graph.input, rng),
        1 if rng.random_bool(0.2) => damage_infos(&mut graph.output, rng),
        2 | 3 => {
            if let Some(tensor) = graph.initializer.iter_mut().choose(rng) {
                damage_tensor(tensor, rng);
            }
        }
        4 if !graph.initializer.is_empty() && rng.random_bool(0.3) => {
            let at = rng.random_range(0..graph.initializer.len());
            let tensor = graph.initializer.remove(at);
            if rng.random() {
                graph.initializer.extend([tensor.clone(), tensor]);
            }
        }
        5 if !graph.output.is_empty() && rng.random_bool(0.2) => {
            let at = rng.random_range(0..graph.output.len());
            graph.output[at].name = Some(stock.name(rng));
        }
        _ => damage_nodes(&mut graph.node, stock, rng),
    }
}

fn damage_infos(infos: &mut Vec<ValueInfoProto>, rng: &mut StdRng) {
    let Some(at) = (0..infos.len()).choose(rng) else {
        return;
    };
    match rng.random_range(0..40) {
        0 => drop(infos.remove(at)),
        1 => infos.push(infos[at].clone()),
        2 => infos[at].r#type = None,
        _ => {
            let value = infos[at].r#type.as_mut().and_then(|t| t.value.as_mut());
            let Some(type_proto::Value::TensorType(tensor)) = value else {
                return;
            };
            match &mut tensor.shape {
                Some(shape) if rng.random_bool(0.7) => damage_shape(&mut shape.dim, rng),
                shape if rng.random_bool(0.2) => *shape = None,
                _ => tensor.elem_type = Some(rng.random_range(0..30)),
            }
        }
    }
}

fn damage_shape(dims: &mut Vec<Dimension>, rng: &mut StdRng) {
    let value = match rng.random_range(0..9) {
        0 => None,
        1 => Some(dimension::Value::DimParam(
            ["n", "m", "n*2", "?"][rng.random_range(0..4)].to_owned(),
        )),
        2..=6 => Some(dimension::Value::DimValue(rng.random_range(0..9))),
        _ => Some(dimension::Value::DimValue(int(rng))),
    };
    let new = Dimension {
        denotation: None,
        value,
    };
    match dims.iter_mut().choose(rng) {
        Some(dim) if rng.random_bool(0.7) => *dim = new,
        Some(_) if rng.random() => drop(dims.pop()),
        _ => dims.push(new),
    }
}

fn damage_tensor(tensor: &mut TensorProto, rng: &mut StdRng) {
    match rng.random_range(0..12) {
        0 => damage_ints(&mut tensor.dims, rng),
        1 => tensor.data_type = Some(rng.random_range(0..30)),
        2 if rng.random_bool(0.2) => tensor.data_location = Some(1),
        _ => {
            // An element of eight bytes, or of four.
            let wide = tensor.data_type == Some(7);
            let Some(raw) = &tensor.raw_data else {
                damage_ints(&mut tensor.int64_data, rng);
                return;
            };
            let new = if wide {
                int(rng).to_le_bytes().to_vec()
            } else {
                float(rng).to_le_bytes().to_vec()
            };
            let mut bytes = raw.to_vec();
            if let Some(chunk) = bytes.chunks_exact_mut(new.len()).choose(rng) {
                chunk.copy_from_slice(&new);
            }
            tensor.raw_data = Some(bytes.into());
        }
    }
}

fn damage_ints(ints: &mut Vec<i64>, rng: &mut StdRng) {
    let some = if rng.random_bool(0.7) {
        int(rng)
    } else {
        rng.random_range(-3..9)
    };
    match ints.iter_mut().choose(rng) {
        Some(one) if rng.random_bool(0.7) => *one = some,
        Some(_) if rng.random() => drop(ints.pop()),
        _ => ints.push(some),
    }
}

fn damage_nodes(nodes: &mut Vec<NodeProto>, stock: &Stock<'_>, rng: &mut StdRng) {
    let Some(at) = (0..nodes.len()).choose(rng) else {
        return;
    };
    match rng.random_range(0..40) {
        0 => drop(nodes.remove(at)),
        1 => {
            let to = rng.random_range(0..nodes.len());
            nodes.swap(at, to);
        }
        2 => nodes.push(nodes[at].clone()),
        3..=5 => {
            let ops = Op::names();
            nodes[at].op_type = ops.choose(rng).map(|&op| op.to_owned());
        }
        15..=20 => {
            if let Some(donor) = stock.donors.choose(rng) {
                nodes[at].op_type = donor.op_type.clone();
                nodes[at].attribute = donor.attribute.clone();
                let outputs = nodes[at].output.len().min(donor.output.len());
                nodes[at].output.truncate(outputs);
                nodes[at]
                    .input
                    .resize_with(donor.input.len(), || stock.name(rng));
            }
        }
        6..=12 => damage_edges(&mut nodes[at].input, stock, rng),
        13 => damage_edges(&mut nodes[at].output, stock, rng),
        14 if rng.random_bool(0.2) => nodes[at].domain = Some("nowhere".to_owned()),
        _ => damage_attributes(&mut nodes[at].attribute, rng),
    }
}

fn damage_edges(edges: &mut Vec<String>, stock: &Stock<'_>, rng: &mut StdRng) {
    let other = stock.name(rng);
    match edges.iter_mut().choose(rng) {
        Some(edge) if rng.random_bool(0.6) => *edge = other,
        Some(_) if rng.random() => drop(edges.pop()),
        _ => edges.push(other),
    }
}

fn damage_attributes(attributes: &mut Vec<AttributeProto>, rng: &mut StdRng) {
    let Some(at) = (0..attributes.len()).choose(rng) else {
        return;
    };
    if rng.random_bool(0.1) {
        drop(attributes.remove(at));
        return;
    }
    let attribute = &mut attributes[at];
    if rng.random_bool(0.05) {
        attribute.r#type = Some(rng.random_range(0..15));
    }
    if attribute.i.is_some() {
        attribute.i = Some(if rng.random_bool(0.7) {
            int(rng)
        } else {
            rng.random_range(-4..27)
        });
    } else if attribute.f.is_some() {
        attribute.f = Some(float(rng));
    } else if attribute.s.is_some() {
        attribute.s = WORDS.choose(rng).map(|w| w.as_bytes().to_vec());
    } else if let Some(tensor) = &mut attribute.t {
        damage_tensor(tensor, rng);
    } else if let Some(one) = attribute.floats.iter_mut().choose(rng) {
        *one = float(rng);
    } else {
        damage_ints(&mut attribute.ints, rng);
    }
}
