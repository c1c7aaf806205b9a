//! What can go wrong between a graph and its result. Every error names the operator or tensor it is about.

use crate::dim::Symbol;
use tilewright_tensor::DType;

/// Errors of graph building, inference, planning and running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Operator `op` got an input or attribute it cannot work with.
    #[error("{op}: {what}")]
    Op {
        /// Operator name.
        op: String,
        /// What was expected and what was found.
        what: String,
    },
    /// An error inside the node called `node`.
    #[error("node `{node}` ({op}): {source}")]
    Node {
        /// Node name, or `#index` for a nameless one.
        node: String,
        /// Operator name.
        op: String,
        /// The error itself.
        #[source]
        source: Box<Error>,
    },
    /// No operator of that name is known.
    #[error("unknown operator `{name}`")]
    UnknownOp {
        /// The name asked for.
        name: String,
    },
    /// Inference needs the value of this input, which is not known yet; the node waits until the input was computed.
    #[error("{op}: the value of input {input} must be known to infer shapes")]
    NeedsValue {
        /// Operator name.
        op: &'static str,
        /// Input position.
        input: usize,
    },
    /// Output shapes depend on the data; the node is computed on the host before the rest is planned.
    #[error("{op}: output shapes depend on the input data")]
    DataDependent {
        /// Operator name.
        op: &'static str,
    },
    /// A graph input was not given, given twice, or has a shape or type that does not fit.
    #[error("input `{name}`: {what}")]
    Input {
        /// Input name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A buffer bound to a graph output does not fit it.
    #[error("output `{name}`: {what}")]
    Output {
        /// Output name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A run cannot be recorded into a caller's encoder, because this node needs the host while it runs.
    #[error("node `{node}` ({op}) cannot be recorded: {reason}")]
    NotRecordable {
        /// Node name.
        node: String,
        /// Operator name.
        op: String,
        /// Why.
        reason: String,
    },
    /// A size is not known when it has to be.
    #[error("the size `{}` has no value", symbol.name())]
    Unbound {
        /// The symbol without value.
        symbol: Symbol,
    },
    /// A 64-bit integer tensor holds a value that the 32-bit device storage cannot.
    #[error("tensor `{name}`: value {value} does not fit the device's 32-bit integers")]
    Narrowing {
        /// Tensor name.
        name: String,
        /// The first value that does not fit.
        value: i64,
    },
    /// `Fallback::Deny` is set and this node has no device form.
    #[error("node `{node}` ({op}) would run on the host: {reason}")]
    HostDenied {
        /// Node name.
        node: String,
        /// Operator name.
        op: String,
        /// Why it cannot run on the device.
        reason: String,
    },
    /// A limit of [`crate::RunLimits`] was passed.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// What was counted.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// The data of a constant could not be had from where it comes from: a file is gone or was changed, a callback failed.
    #[error("constant `{name}`: data of {place}: {source}")]
    Weight {
        /// The constant's name in the model; empty where it has none.
        name: String,
        /// Where the data was to come from.
        place: String,
        /// Why it could not be had.
        #[source]
        source: std::io::Error,
    },
    /// A self-test found a variant that computes something else than it should, and there is no other for it.
    #[error("self-test: {wrong}")]
    SelfTest {
        /// Which, and how it is wrong.
        wrong: String,
    },
    /// The graph is malformed.
    #[error("graph: {0}")]
    Graph(String),
    /// An operator has no device form for a data type.
    #[error("{0} has no device storage")]
    Storage(DType),
    /// From host tensors.
    #[error(transparent)]
    Tensor(#[from] tilewright_tensor::Error),
    /// From the device.
    #[error(transparent)]
    Device(#[from] tilewright_device::Error),
    /// From kernels.
    #[error(transparent)]
    Kernel(#[from] tilewright_kernels::Error),
}

impl Error {
    /// An [`Error::Op`].
    pub fn op(op: &str, what: impl Into<String>) -> Error {
        Error::Op {
            op: op.into(),
            what: what.into(),
        }
    }

    /// An [`Error::Weight`]: the data of the constant `name` could not be had from `place`.
    pub fn weight(name: &str, place: &str, source: std::io::Error) -> Error {
        Error::Weight {
            name: name.into(),
            place: place.into(),
            source,
        }
    }

    /// Wraps `self` with the node it came from.
    pub fn at(self, node: &str, op: &str) -> Error {
        Error::Node {
            node: node.into(),
            op: op.into(),
            source: Box::new(self),
        }
    }

    /// True where a node only has to wait for values (and is not wrong).
    pub fn is_late(&self) -> bool {
        matches!(self, Error::NeedsValue { .. } | Error::DataDependent { .. })
    }
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
