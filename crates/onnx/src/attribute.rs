//! Attributes of nodes, from and to the graph's.

use std::sync::Arc;

use tilewright_graph::{Attr, Graph};

use crate::{
    Error, ExternalData, Result, node_label,
    proto::{AttributeProto, GraphProto, NodeProto, attribute_proto::AttributeType},
    read_sparse_tensor, read_tensor, write_tensor,
};

/// Reads one attribute of `node`; `subgraph` reads those that are graphs. Sparse tensors come dense.
///
/// # Errors
/// [`Error::Attribute`] for a value that is not of the declared type, for text that is not UTF-8, for a reference to a
/// function's attribute (the caller replaces those first), and for lists of tensors or graphs and for types, which no tensor
/// operator has; those of [`read_tensor`] and of `subgraph`.
pub fn read_attribute(
    node: &NodeProto,
    proto: &AttributeProto,
    external: &dyn ExternalData,
    subgraph: &mut dyn FnMut(&GraphProto) -> Result<Arc<Graph>>,
) -> Result<Attr> {
    let fail = |what: String| Error::Attribute {
        node: node_label(node),
        attribute: proto.name().to_owned(),
        what,
    };
    if !proto.ref_attr_name().is_empty() {
        let what = format!("refers to `{}` outside a function", proto.ref_attr_name());
        return Err(fail(what));
    }
    let kind = kind(proto).ok_or_else(|| fail("has no known type".to_owned()))?;
    let absent = || fail(format!("is {} without a value", kind.as_str_name()));
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Arc::from(text)),
        Err(_) => Err(fail("is not UTF-8".to_owned())),
    };
    Ok(match kind {
        // A writer may leave out a number that is 0 and a text that is empty.
        AttributeType::Int => Attr::Int(proto.i.unwrap_or_default()),
        AttributeType::Float => Attr::Float(proto.f.unwrap_or_default()),
        AttributeType::String => Attr::Str(text(proto.s())?),
        AttributeType::Ints => Attr::Ints(proto.ints.clone()),
        AttributeType::Floats => Attr::Floats(proto.floats.clone()),
        AttributeType::Strings => {
            let texts = proto.strings.iter().map(|s| text(s));
            Attr::Strs(texts.collect::<Result<_>>()?)
        }
        AttributeType::Tensor => {
            let tensor = proto.t.as_ref().ok_or_else(absent)?;
            Attr::Tensor(read_tensor(tensor, external)?.into())
        }
        AttributeType::SparseTensor => {
            let tensor = proto.sparse_tensor.as_ref().ok_or_else(absent)?;
            Attr::Tensor(read_sparse_tensor(tensor, external)?.into())
        }
        AttributeType::Graph => Attr::Graph(subgraph(proto.g.as_ref().ok_or_else(absent)?)?),
        AttributeType::Undefined
        | AttributeType::TypeProto
        | AttributeType::Tensors
        | AttributeType::Graphs
        | AttributeType::SparseTensors
        | AttributeType::TypeProtos => {
            let what = format!("{} attributes are not supported", kind.as_str_name());
            return Err(fail(what));
        }
    })
}

/// Writes an attribute; `subgraph` writes graphs.
///
/// # Errors
/// Those of `subgraph`.
pub fn write_attribute(
    name: &str,
    attr: &Attr,
    subgraph: &mut dyn FnMut(&Graph) -> Result<GraphProto>,
) -> Result<AttributeProto> {
    let mut proto = AttributeProto {
        name: Some(name.to_owned()),
        ..AttributeProto::default()
    };
    let kind = match attr {
        Attr::Int(value) => {
            proto.i = Some(*value);
            AttributeType::Int
        }
        Attr::Float(value) => {
            proto.f = Some(*value);
            AttributeType::Float
        }
        Attr::Str(value) => {
            proto.s = Some(value.as_bytes().to_vec());
            AttributeType::String
        }
        Attr::Ints(values) => {
            proto.ints = values.clone();
            AttributeType::Ints
        }
        Attr::Floats(values) => {
            proto.floats = values.clone();
            AttributeType::Floats
        }
        Attr::Strs(values) => {
            proto.strings = values.iter().map(|v| v.as_bytes().to_vec()).collect();
            AttributeType::Strings
        }
        Attr::Tensor(value) => {
            proto.t = Some(write_tensor("", &value.load()?));
            AttributeType::Tensor
        }
        Attr::Graph(value) => {
            proto.g = Some(subgraph(value)?);
            AttributeType::Graph
        }
    };
    proto.r#type = Some(kind as i32);
    Ok(proto)
}

/// The declared type, or that of the field in use: IR version 1 had no `type`.
fn kind(proto: &AttributeProto) -> Option<AttributeType> {
    match proto.r#type {
        Some(declared) if declared != 0 => AttributeType::try_from(declared).ok(),
        _ => {
            let used = [
                (proto.f.is_some(), AttributeType::Float),
                (proto.i.is_some(), AttributeType::Int),
                (proto.s.is_some(), AttributeType::String),
                (proto.t.is_some(), AttributeType::Tensor),
                (proto.g.is_some(), AttributeType::Graph),
                (proto.sparse_tensor.is_some(), AttributeType::SparseTensor),
                (!proto.floats.is_empty(), AttributeType::Floats),
                (!proto.ints.is_empty(), AttributeType::Ints),
                (!proto.strings.is_empty(), AttributeType::Strings),
            ];
            let found = used.into_iter().find(|(used, _)| *used);
            found.map(|(_, kind)| kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use tilewright_tensor::HostTensor;

    use super::*;
    use crate::NoExternalData;

    fn read(proto: &AttributeProto) -> Result<Attr> {
        let node = NodeProto {
            op_type: Some("Op".to_owned()),
            name: Some("n".to_owned()),
            ..NodeProto::default()
        };
        read_attribute(&node, proto, &NoExternalData, &mut |_| Ok(Arc::default()))
    }

    #[test]
    fn round_trips() {
        let texts = vec!["".into(), "\u{e9}".into()];
        let tensor = HostTensor::from_vec([2], vec![1u8, 2]).unwrap();
        let attrs = [
            Attr::Int(-3),
            Attr::Float(f32::NAN),
            Attr::Str("same".into()),
            Attr::Ints(vec![]),
            Attr::Floats(vec![-0.0, 1.5]),
            Attr::Strs(texts),
            Attr::Tensor(tensor.into()),
        ];
        for attr in attrs {
            let proto = write_attribute("a", &attr, &mut |_| Ok(GraphProto::default())).unwrap();
            assert_eq!(read(&proto).unwrap(), attr);
        }
        let graph = Attr::Graph(Arc::default());
        let proto = write_attribute("body", &graph, &mut |_| Ok(GraphProto::default())).unwrap();
        assert!(matches!(read(&proto), Ok(Attr::Graph(_))));
    }

    #[test]
    fn the_type_may_be_missing() {
        let ints = AttributeProto {
            ints: vec![1, 2],
            ..AttributeProto::default()
        };
        assert_eq!(read(&ints).unwrap(), Attr::Ints(vec![1, 2]));
        assert!(read(&AttributeProto::default()).is_err());
    }

    #[test]
    fn errors_name_node_and_attribute() {
        let typed = |kind: AttributeType| AttributeProto {
            name: Some("mode".to_owned()),
            r#type: Some(kind as i32),
            ..AttributeProto::default()
        };
        let fails = |proto: &AttributeProto| read(proto).unwrap_err().to_string();
        assert_eq!(
            fails(&typed(AttributeType::Tensor)),
            "attribute `mode` of Op `n`: is TENSOR without a value"
        );
        assert!(fails(&typed(AttributeType::Graphs)).contains("GRAPHS attributes"));
        let text = AttributeProto {
            s: Some(vec![0xff]),
            ..typed(AttributeType::String)
        };
        assert!(fails(&text).contains("not UTF-8"));
        let reference = AttributeProto {
            ref_attr_name: Some("alpha".to_owned()),
            ..typed(AttributeType::Float)
        };
        assert!(fails(&reference).contains("refers to `alpha`"));
        let unknown = AttributeProto {
            r#type: Some(99),
            ..AttributeProto::default()
        };
        assert!(fails(&unknown).contains("no known type"));
    }
}
