//! Models: decoding, operator set imports, and model-local functions.

use std::collections::HashMap;

use prost::{Message, bytes::Bytes};

use crate::{
    Error, Result,
    proto::{AttributeProto, FunctionProto, ModelProto, NodeProto, OperatorSetIdProto},
};

/// Decodes a model. Tensor data is shared with `file`, not copied. Messages may nest 100 deep (prost's limit), so that subgraphs
/// in subgraphs cannot overflow the stack.
///
/// # Errors
/// [`Error::Decode`]; [`Error::Model`] for a message without a graph.
pub fn decode_model(file: impl Into<Bytes>) -> Result<ModelProto> {
    let decoded = ModelProto::decode(file.into()).map_err(|source| Error::Decode {
        message: "model",
        source,
    });
    let model = decoded?;
    // An empty file is a valid message.
    if model.graph.is_none() {
        let what = "it has no graph".to_owned();
        return Err(Error::Model { what });
    }
    Ok(model)
}

/// The bytes of a model file: what [`decode_model`] reads.
pub fn encode_model(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// The domain under which operators are looked up: `ai.onnx` is another name of the default domain, ``.
pub fn normal_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// What errors call a node: its operator with its name, or with its first output where it has none.
pub fn node_label(node: &NodeProto) -> String {
    let op = match normal_domain(node.domain()) {
        "" => node.op_type().to_owned(),
        domain => format!("{domain}.{}", node.op_type()),
    };
    match (node.name(), node.output.iter().find(|o| !o.is_empty())) {
        ("", Some(output)) => format!("{op} -> `{output}`"),
        ("", None) => op,
        (name, _) => format!("{op} `{name}`"),
    }
}

/// The operator sets that a model or function imports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imports {
    versions: HashMap<String, i64>,
}

impl Imports {
    /// From `opset_import`. Models of IR version 2 and older may import nothing and then mean version 1 of the default
    /// domain.
    ///
    /// # Errors
    /// [`Error::Model`] for a domain that is imported twice with different versions, and for versions below 1.
    pub fn new(imports: &[OperatorSetIdProto]) -> Result<Imports> {
        let mut versions = HashMap::new();
        for import in imports {
            let domain = normal_domain(import.domain()).to_owned();
            let version = import.version();
            if version < 1 {
                let what = format!("imports version {version} of domain `{domain}`");
                return Err(Error::Model { what });
            }
            let earlier = versions.insert(domain, version);
            if let Some(earlier) = earlier.filter(|&e| e != version) {
                let domain = import.domain();
                return Err(Error::Model {
                    what: format!("imports domain `{domain}` as {earlier} and as {version}"),
                });
            }
        }
        if versions.is_empty() {
            versions.insert(String::new(), 1);
        }
        Ok(Imports { versions })
    }

    /// The version imported of a domain.
    pub fn version(&self, domain: &str) -> Option<i64> {
        self.versions.get(normal_domain(domain)).copied()
    }

    /// The version that a node's operator is of.
    ///
    /// # Errors
    /// [`Error::Model`] where its domain is not imported.
    pub fn version_of(&self, node: &NodeProto) -> Result<i64> {
        self.version(node.domain()).ok_or_else(|| Error::Model {
            what: format!("{} is of a domain that is not imported", node_label(node)),
        })
    }
}

/// The functions that a model brings along (IR.md, "Functions").
#[derive(Clone, Debug, Default)]
pub struct Functions<'a> {
    /// By domain, name and overload.
    functions: HashMap<(&'a str, &'a str, &'a str), &'a FunctionProto>,
}

impl<'a> Functions<'a> {
    /// The functions of a model.
    ///
    /// # Errors
    /// [`Error::Model`] for one that is defined twice.
    pub fn new(functions: &'a [FunctionProto]) -> Result<Functions<'a>> {
        let mut found = HashMap::new();
        for function in functions {
            let domain = normal_domain(function.domain());
            let key = (domain, function.name(), function.overload());
            if found.insert(key, function).is_some() {
                let name = function.name();
                let what = format!("function `{name}` of domain `{domain}` is defined twice");
                return Err(Error::Model { what });
            }
        }
        Ok(Functions { functions: found })
    }

    /// The function that a node calls. A function shadows an operator of the same name.
    pub fn of_node(&self, node: &NodeProto) -> Option<&'a FunctionProto> {
        let key = (
            normal_domain(node.domain()),
            node.op_type(),
            node.overload(),
        );
        self.functions.get(&key).copied()
    }
}

/// A node of a function's body with references to the function's attributes replaced by the caller's, or the defaults.
pub(crate) fn with_attributes(
    inner: &NodeProto,
    caller: &NodeProto,
    function: &FunctionProto,
) -> NodeProto {
    let mut inner = inner.clone();
    inner.attribute = inner
        .attribute
        .into_iter()
        .filter_map(|a| bound(a, caller, function))
        .collect();
    inner
}

fn bound(
    mut attribute: AttributeProto,
    caller: &NodeProto,
    function: &FunctionProto,
) -> Option<AttributeProto> {
    if !attribute.ref_attr_name().is_empty() {
        let wanted = attribute.ref_attr_name().to_owned();
        let given = caller
            .attribute
            .iter()
            .chain(&function.attribute_proto)
            .find(|a| a.name() == wanted)?;
        let mut found = given.clone();
        found.name = attribute.name;
        return Some(found);
    }
    if let Some(graph) = &mut attribute.g {
        for node in &mut graph.node {
            *node = with_attributes(node, caller, function);
        }
    }
    Some(attribute)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{AttributeProto, GraphProto};

    fn import(domain: &str, version: i64) -> OperatorSetIdProto {
        OperatorSetIdProto {
            domain: Some(domain.to_owned()),
            version: Some(version),
        }
    }

    fn node(domain: &str, op: &str, name: &str) -> NodeProto {
        NodeProto {
            domain: Some(domain.to_owned()),
            op_type: Some(op.to_owned()),
            name: Some(name.to_owned()),
            output: vec![String::new(), "y".to_owned()],
            ..NodeProto::default()
        }
    }

    #[test]
    fn imports_know_both_names_of_the_default_domain() {
        let imports = Imports::new(&[import("ai.onnx", 17), import("my", 2)]).unwrap();
        assert_eq!(imports.version(""), Some(17));
        assert_eq!(imports.version_of(&node("my", "F", "")).unwrap(), 2);
        let error = imports.version_of(&node("other", "F", "")).unwrap_err();
        assert!(error.to_string().contains("other.F -> `y`"), "{error}");
        assert!(Imports::new(&[import("", 17), import("ai.onnx", 18)]).is_err());
        assert_eq!(Imports::new(&[]).unwrap().version(""), Some(1));
    }

    #[test]
    fn functions_are_found_by_domain_and_name() {
        let function = |domain: &str| FunctionProto {
            domain: Some(domain.to_owned()),
            name: Some("F".to_owned()),
            ..FunctionProto::default()
        };
        let list = [function("a"), function("ai.onnx")];
        let functions = Functions::new(&list).unwrap();
        assert!(functions.of_node(&node("", "F", "")).is_some());
        assert!(functions.of_node(&node("a", "F", "")).is_some());
        assert!(functions.of_node(&node("a", "G", "")).is_none());
        assert!(Functions::new(&[function("a"), function("a")]).is_err());
    }

    #[test]
    fn labels() {
        assert_eq!(node_label(&node("", "Add", "n1")), "Add `n1`");
        assert_eq!(node_label(&node("ai.onnx", "Add", "")), "Add -> `y`");
        assert_eq!(node_label(&NodeProto::default()), "");
    }

    #[test]
    fn hostile_models_are_typed_errors() {
        assert!(matches!(decode_model(vec![]), Err(Error::Model { .. })));
        assert!(matches!(
            decode_model(vec![0xff; 9]),
            Err(Error::Decode { .. })
        ));
        // A graph in an attribute of a node of a graph, and so on: three messages a level.
        let mut graph = GraphProto::default();
        for _ in 0..60 {
            let attribute = AttributeProto {
                g: Some(graph),
                ..AttributeProto::default()
            };
            let node = NodeProto {
                attribute: vec![attribute],
                ..NodeProto::default()
            };
            graph = GraphProto {
                node: vec![node],
                ..GraphProto::default()
            };
        }
        let model = ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        };
        let error = decode_model(model.encode_to_vec()).unwrap_err();
        assert!(error.to_string().contains("recursion"), "{error}");
    }
}
