//! What can be wrong with an ONNX file.

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of reading and writing ONNX; each names the tensor, node or attribute it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no such message.
    #[error("not an ONNX {message}: {source}")]
    Decode {
        /// The message wanted.
        message: &'static str,
        /// What the decoder met.
        #[source]
        source: prost::DecodeError,
    },
    /// A model without something that every model has, or with contradicting parts.
    #[error("invalid model: {what}")]
    Model {
        /// What is wrong.
        what: String,
    },
    /// An element type that is no tensor here: strings, complex numbers, 8-bit and narrower floats, and unknown codes.
    #[error("`{name}` has elements of type {dtype}, which is not supported")]
    ElementType {
        /// The tensor or value.
        name: String,
        /// The type's name in onnx.proto, or its number.
        dtype: String,
    },
    /// A value that is no tensor: a sequence, map, optional or opaque.
    #[error("`{name}` is {kind}, which is not supported")]
    ValueType {
        /// The value.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// Tensor data that does not fit the declared type and shape.
    #[error("tensor `{name}`: {what}")]
    Data {
        /// The tensor.
        name: String,
        /// What was expected and what was found.
        what: String,
    },
    /// Invalid extents or values of a tensor.
    #[error("tensor `{name}`: {source}")]
    Tensor {
        /// The tensor.
        name: String,
        /// The error itself.
        #[source]
        source: tilewright_tensor::Error,
    },
    /// Data outside the model file that could not be had.
    #[error("tensor `{name}`: external data at `{location}`: {source}")]
    External {
        /// The tensor.
        name: String,
        /// Where the model says that the data lies.
        location: String,
        /// Why it could not be read.
        #[source]
        source: std::io::Error,
    },
    /// An attribute that is not what its type says, or of a kind that is not supported.
    #[error("attribute `{attribute}` of {node}: {what}")]
    Attribute {
        /// The node's label, see [`crate::node_label`].
        node: String,
        /// The attribute.
        attribute: String,
        /// What was expected and what was found.
        what: String,
    },
    /// A model file that cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// An operator that this engine does not have, or of an operator set newer than it knows.
    #[error(
        "{node}: operator `{name}` of domain `{}`, opset {opset}, is not supported: what ONNX has in sets 1 to {} is, and what a \
         `Registry` names", if .domain.is_empty() { "ai.onnx" } else { .domain }, crate::NEWEST_OPSET
    )]
    UnknownOperator {
        /// The operator.
        name: String,
        /// Its domain; empty for ONNX's own.
        domain: String,
        /// The version of the operator set.
        opset: i64,
        /// The node's label, see [`crate::node_label`].
        node: String,
    },
    /// From the graph that is built or written.
    #[error(transparent)]
    Graph(#[from] tilewright_graph::Error),
}
