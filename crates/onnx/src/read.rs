//! From a model's nodes to a graph: scopes, subgraphs, functions. Operators themselves are made by name from their
//! attributes; what older operator sets say differently is in [`crate::upgrade`].

use std::collections::HashMap;
use std::sync::Arc;

use prost::bytes::Bytes;
use tilewright_graph::{Attr, Attrs, Dim, Fact, Graph, Op, Symbol, Value, Weight};

use crate::model::with_attributes;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::source::Origin;
use crate::tensor::read_weight;
use crate::upgrade::{Old, upgrade};
use crate::{
    Error, ExternalData, Functions, Imports, ModelDir, ReadOptions, Result, Size, decode_model,
    node_label, normal_domain, read_attribute, read_sparse_tensor, read_value_info,
};

/// The newest operator set of the default domain that is understood.
pub const NEWEST_OPSET: i64 = 28;

/// Functions may call functions; a model that nests deeper than this is refused.
const MAX_DEPTH: usize = 32;

/// Inlined calls may multiply; a model that expands to more nodes than this, and than [`MAX_EXPANSION`] times those it
/// has, is refused.
const MAX_NODES: usize = 1 << 15;

/// See [`MAX_NODES`].
const MAX_EXPANSION: usize = 32;

/// Operators that no file has: the sources of a graph, and what passes make.
const OWN: [&str; 7] = [
    "Input",
    "State",
    "Sizes",
    "Map",
    "Fused",
    "BsrMatMul",
    "Interleave",
];

/// Reads a model into a graph. `external` answers for tensors whose data lies outside the file.
///
/// Types and shapes that the file declares for values other than inputs are not read: what operators make is inferred.
///
/// Large weights are not copied: the graph shares them with `file`, which therefore stays in memory as long as the graph.
///
/// # Errors
/// Whatever is wrong with the file, named by node, tensor or attribute.
pub fn read_model(file: impl Into<Bytes>, external: &dyn ExternalData) -> Result<Graph> {
    read_model_with(file, external, &ReadOptions::new())
}

/// [`read_model`] with options.
///
/// # Errors
/// As [`read_model`].
pub fn read_model_with(
    file: impl Into<Bytes>,
    external: &dyn ExternalData,
    options: &ReadOptions,
) -> Result<Graph> {
    read(file.into(), &Origin::memory(), external, options)
}

fn read(
    file: Bytes,
    origin: &Origin,
    external: &dyn ExternalData,
    options: &ReadOptions,
) -> Result<Graph> {
    let model = decode_model(file)?;
    let imports = Imports::new(&model.opset_import)?;
    let functions = Functions::new(&model.functions)?;
    let (frames, graphs) = Default::default();
    let mut reader = Reader {
        functions,
        origin,
        external,
        options,
        frames,
        graphs,
        nodes: 0,
        most: nodes_of(&model)
            .saturating_mul(MAX_EXPANSION)
            .max(MAX_NODES),
    };
    let graph = model
        .graph
        .as_ref()
        .ok_or_else(|| invalid("it has no graph"))?;
    Ok(reader.graph(graph, imports, false)?.0)
}

/// Reads the model in a file; external data may lie in its folder.
///
/// Large weights are read from these files when they are needed, which may be more than once; until then they take no memory.
/// A file that is gone or was changed by then is a [`tilewright_graph::Error::Weight`].
///
/// # Errors
/// As [`read_model`]; [`Error::File`] where the file cannot be read.
pub fn read_model_file(path: impl AsRef<std::path::Path>) -> Result<Graph> {
    read_model_file_with(path, &ReadOptions::new())
}

/// [`read_model_file`] with options.
///
/// # Errors
/// As [`read_model_file`].
pub fn read_model_file_with(
    path: impl AsRef<std::path::Path>,
    options: &ReadOptions,
) -> Result<Graph> {
    let path = path.as_ref();
    let (file, origin) = Origin::read(path).map_err(|source| Error::File {
        path: path.display().to_string(),
        source,
    })?;
    read(file, &origin, &ModelDir::of_model(path), options)
}

/// An input that the caller of a function left out is left out by a node of the body too, and by those of its subgraphs.
fn leave_out(node: &mut NodeProto, absent: &[&String]) {
    let names = node.input.iter_mut();
    names
        .filter(|n| absent.contains(&&**n))
        .for_each(String::clear);
    let graphs = node.attribute.iter_mut().filter_map(|a| a.g.as_mut());
    for inner in graphs.flat_map(|graph| &mut graph.node) {
        leave_out(inner, absent);
    }
}

fn invalid(what: impl Into<String>) -> Error {
    Error::Model { what: what.into() }
}

/// A table of names.
struct Frame {
    names: HashMap<String, Value>,
    /// Initialisers not yet used; they become constants when they are.
    initialisers: HashMap<String, Weight>,
    imports: Imports,
    /// A subgraph sees the names of the frame below and has a graph of its own; a function's body does neither.
    subgraph: bool,
    /// Values of the outer graph that the subgraph takes, in the order of its extra inputs.
    captures: Vec<Value>,
}

struct Reader<'a> {
    functions: Functions<'a>,
    origin: &'a Origin,
    external: &'a dyn ExternalData,
    options: &'a ReadOptions,
    frames: Vec<Frame>,
    graphs: Vec<Graph>,
    /// Nodes so far, with those of inlined functions.
    nodes: usize,
    most: usize,
}

/// Nodes of the graph and of all functions, subgraphs left out.
fn nodes_of(model: &ModelProto) -> usize {
    let functions: usize = model.functions.iter().map(|f| f.node.len()).sum();
    functions + model.graph.as_ref().map_or(0, |g| g.node.len())
}

impl<'a> Reader<'a> {
    /// A whole graph and, for a subgraph, the outer values it takes after its own inputs.
    fn graph(
        &mut self,
        proto: &GraphProto,
        imports: Imports,
        subgraph: bool,
    ) -> Result<(Graph, Vec<Value>)> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(invalid(format!(
                "graphs and functions nest deeper than {MAX_DEPTH}"
            )));
        }
        let initialisers = self.initialisers(proto)?;
        self.graphs.push(Graph::new());
        let (names, captures) = Default::default();
        self.frames.push(Frame {
            names,
            initialisers,
            imports,
            subgraph,
            captures,
        });
        self.inputs(proto)?;
        for node in &proto.node {
            self.node(node)?;
        }
        for output in &proto.output {
            let name = output.name();
            let value = self
                .find(name)
                .ok_or_else(|| invalid(format!("nothing makes output `{name}`")))?;
            self.top().output(name, value);
        }
        let frame = self.frames.pop().map(|f| f.captures);
        let graph = self.graphs.pop();
        Ok((graph.unwrap_or_default(), frame.unwrap_or_default()))
    }

    fn initialisers(&self, proto: &GraphProto) -> Result<HashMap<String, Weight>> {
        let mut found = HashMap::new();
        let dense = proto.initializer.iter();
        let dense = dense.map(|t| (t.name(), read_weight(t, self.external, self.origin)));
        let sparse = proto.sparse_initializer.iter().map(|s| {
            let name = s.values.as_ref().map_or("", |v| v.name());
            (name, read_sparse_tensor(s, self.external).map(Weight::from))
        });
        for (name, tensor) in dense.chain(sparse) {
            if found.insert(name.to_owned(), tensor?).is_some() {
                return Err(invalid(format!("initialiser `{name}` is there twice")));
            }
        }
        Ok(found)
    }

    fn inputs(&mut self, proto: &GraphProto) -> Result<()> {
        for info in &proto.input {
            let name = info.name();
            let options = self.options;
            if self.frame().initialisers.contains_key(name) && !options.overridden.contains(name) {
                continue;
            }
            let symbol = |name: &str| match options.maybe_empty.contains(name) {
                true => Symbol::maybe_empty(name),
                false => Symbol::new(name),
            };
            let dim = |(axis, size): (usize, Size)| match size {
                Size::Known(n) => Dim::from(n),
                Size::Named(name) => symbol(&name).into(),
                Size::Unknown => symbol(&format!("{name}.{axis}")).into(),
            };
            let declared = read_value_info(info)?.map(|info| (info.dtype, info.sizes));
            let value = match declared {
                None => self.top().input(name, None)?,
                Some((dtype, None)) => self.top().input_of(name, dtype)?,
                Some((dtype, Some(sizes))) => {
                    let sizes: Vec<Dim> = sizes.into_iter().enumerate().map(dim).collect();
                    self.top().input(name, Some(Fact::new(dtype, sizes)))?
                }
            };
            self.define(name, value)?;
        }
        Ok(())
    }

    fn frame(&mut self) -> &mut Frame {
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn top(&mut self) -> &mut Graph {
        let last = self.graphs.len() - 1;
        &mut self.graphs[last]
    }

    fn define(&mut self, name: &str, value: Value) -> Result<()> {
        if self.frame().names.insert(name.to_owned(), value).is_some() {
            return Err(invalid(format!("`{name}` is defined twice")));
        }
        Ok(())
    }

    /// The value called `name`, as seen from the innermost frame.
    fn find(&mut self, name: &str) -> Option<Value> {
        self.find_from(self.frames.len() - 1, self.graphs.len() - 1, name)
    }

    fn find_from(&mut self, frame: usize, graph: usize, name: &str) -> Option<Value> {
        if let Some(value) = self.frames[frame].names.get(name) {
            return Some(*value);
        }
        let value = if let Some(weight) = self.frames[frame].initialisers.get(name).cloned() {
            self.graphs[graph].constant(weight)
        } else if self.frames[frame].subgraph && frame > 0 && graph > 0 {
            let outer = self.find_from(frame - 1, graph - 1, name)?;
            let fact = self.graphs[graph - 1].fact(outer).cloned();
            match fact.as_ref().and_then(Fact::weight) {
                Some(weight) => self.graphs[graph].constant(weight.clone()),
                None => {
                    let inner = self.graphs[graph]
                        .input(&format!("{name}@{frame}"), fact)
                        .ok()?;
                    self.frames[frame].captures.push(outer);
                    inner
                }
            }
        } else {
            return None;
        };
        self.frames[frame].names.insert(name.to_owned(), value);
        Some(value)
    }

    fn node(&mut self, node: &NodeProto) -> Result<()> {
        self.nodes += 1;
        if self.nodes > self.most {
            return Err(invalid(format!(
                "it expands to more than {} nodes",
                self.most
            )));
        }
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match &**name {
                "" => None,
                name => Some(self.find(name).ok_or_else(|| {
                    invalid(format!(
                        "{} reads `{name}`, which nothing before it makes",
                        node_label(node)
                    ))
                })?),
            });
        }
        let values = match self.functions.of_node(node) {
            Some(function) => self.call(node, function, &inputs)?,
            None => self.operator(node, inputs)?,
        };
        for (i, name) in node
            .output
            .iter()
            .enumerate()
            .filter(|(_, name)| !name.is_empty())
        {
            let value = values.get(i).ok_or_else(|| {
                invalid(format!(
                    "{} has {} outputs, `{name}` is one too many",
                    node_label(node),
                    values.len()
                ))
            })?;
            self.define(name, *value)?;
        }
        Ok(())
    }

    /// Inlines a function's body.
    fn call(
        &mut self,
        node: &NodeProto,
        function: &'a FunctionProto,
        inputs: &[Option<Value>],
    ) -> Result<Vec<Value>> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(invalid(format!(
                "{} calls functions deeper than {MAX_DEPTH}",
                node_label(node)
            )));
        }
        if inputs.len() > function.input.len() {
            return Err(invalid(format!("{} has too many inputs", node_label(node))));
        }
        let names = function
            .input
            .iter()
            .zip(inputs)
            .filter_map(|(n, v)| Some((n.clone(), (*v)?)))
            .collect();
        let imports = Imports::new(&function.opset_import)?;
        let (initialisers, captures) = Default::default();
        self.frames.push(Frame {
            names,
            initialisers,
            imports,
            subgraph: false,
            captures,
        });
        let given = |i: usize| inputs.get(i).is_some_and(Option::is_some);
        let parameters = (0..).zip(&function.input);
        let absent: Vec<&String> = parameters
            .filter(|(i, _)| !given(*i))
            .map(|p| p.1)
            .collect();
        for inner in &function.node {
            let mut inner = with_attributes(inner, node, function);
            leave_out(&mut inner, &absent);
            self.node(&inner)?;
        }
        let mut values = vec![];
        for name in &function.output {
            let value = self.find(name);
            values.push(value.ok_or_else(|| {
                invalid(format!(
                    "function `{}` does not make its output `{name}`",
                    function.name()
                ))
            })?);
        }
        self.frames.pop();
        Ok(values)
    }

    fn operator(&mut self, node: &NodeProto, mut inputs: Vec<Option<Value>>) -> Result<Vec<Value>> {
        let version = self.frame().imports.version_of(node)?;
        let attrs = self.attributes(node, &mut inputs)?;
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        let outputs = node.output.len().max(1);
        if let Some(make) = self.options.registry.get(node) {
            let op = Op::from(make(&attrs)?);
            return Ok(self.top().add_node(op, &inputs, node.name(), outputs)?);
        }
        let known_domain = matches!(normal_domain(node.domain()), "" | "ai.onnx.preview");
        if !known_domain
            || version > NEWEST_OPSET
            || OWN.contains(&node.op_type())
            || !Op::names().contains(&node.op_type()) && !Old::has(node.op_type())
        {
            return Err(Error::UnknownOperator {
                name: node.op_type().to_owned(),
                domain: normal_domain(node.domain()).to_owned(),
                opset: version,
                node: node_label(node),
            });
        }
        let label = if node.name().is_empty() {
            node_label(node)
        } else {
            node.name().to_owned()
        };
        let old = Old {
            name: node.op_type(),
            label: &label,
            version,
            attrs,
            inputs,
            outputs,
        };
        upgrade(self.top(), old).map_err(Error::Graph)
    }

    /// The attributes. Values that subgraphs capture are appended to the node's inputs, those of the subgraph whose
    /// attribute is first by name first, and counted in the attribute `captures`.
    fn attributes(&mut self, node: &NodeProto, inputs: &mut Vec<Option<Value>>) -> Result<Attrs> {
        let mut attrs = Attrs::new(node.op_type());
        let mut sorted: Vec<&AttributeProto> = node.attribute.iter().collect();
        sorted.sort_by_key(|a| a.name());
        let mut captured = vec![];
        for attribute in sorted {
            let attr = self.attribute(node, attribute, &mut captured)?;
            attrs.set(attribute.name(), attr);
        }
        if !captured.is_empty() {
            attrs.set("captures", Attr::Int(captured.len() as i64));
            // A loop's count and condition may be left out by naming fewer inputs; their places stay.
            if node.op_type() == "Loop" && inputs.len() < 2 {
                inputs.resize(2, None);
            }
            inputs.extend(captured);
        }
        Ok(attrs)
    }

    /// The value of a Constant, which some exporters write instead of initialisers.
    fn large_constant(&self, node: &NodeProto, value: &AttributeProto) -> Result<Option<Weight>> {
        let constant = (node.op_type(), value.name()) == ("Constant", "value");
        let tensor = value.t.as_ref().filter(|_| {
            constant
                && self.options.registry.get(node).is_none()
                && value.r#type() == AttributeType::Tensor
        });
        let read = |t: &TensorProto| read_weight(t, self.external, self.origin);
        tensor.map(read).transpose()
    }

    /// An attribute; values that a subgraph captures are added to `captured`.
    fn attribute(
        &mut self,
        node: &NodeProto,
        attribute: &AttributeProto,
        captured: &mut Vec<Option<Value>>,
    ) -> Result<Attr> {
        let external = self.external;
        if let Some(weight) = self.large_constant(node, attribute)? {
            return Ok(Attr::Tensor(weight));
        }
        let imports = self.frame().imports.clone();
        read_attribute(node, attribute, external, &mut |proto| {
            let (graph, captures) = self.graph(proto, imports.clone(), true)?;
            captured.extend(captures.into_iter().map(Some));
            Ok(Arc::new(graph))
        })
    }
}
