//! The error type of this crate.

use crate::{DType, Shape};

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a tensor, a shape or a tensor file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The product of the extents, or its size in bytes, does not fit the address space.
    #[error("shape {shape} has too many elements")]
    TooManyElements {
        /// The shape asked for.
        shape: Shape,
    },
    /// An extent below zero, or past the address space.
    #[error("invalid extents {extents:?}")]
    Extents {
        /// All the extents given.
        extents: Vec<i64>,
    },
    /// The allocator refused.
    #[error("out of memory allocating {bytes} bytes")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// Data of another length than the shape asks for.
    #[error("shape {shape} needs {expected} {unit}, got {got}")]
    Length {
        /// The shape asked for.
        shape: Shape,
        /// What is counted: "elements" or "bytes".
        unit: &'static str,
        /// The count that the shape needs.
        expected: usize,
        /// The count given.
        got: usize,
    },
    /// An access with another element type than the tensor holds.
    #[error("expected a tensor of {expected}, got {got}")]
    DType {
        /// The type asked for.
        expected: DType,
        /// The type that the tensor has.
        got: DType,
    },
    /// An operation that does not exist for this element type.
    #[error("{what} is not defined for {dtype}")]
    Unsupported {
        /// The operation.
        what: &'static str,
        /// The element type.
        dtype: DType,
    },
    /// A value outside the range of its element type.
    #[error("element {index} is {value}, outside the range of {dtype}")]
    Range {
        /// The linear index of the value.
        index: usize,
        /// The value.
        value: i128,
        /// The element type.
        dtype: DType,
    },
    /// Shapes that do not broadcast together.
    #[error("shapes {shapes} do not broadcast: axis {axis} from the end has extents {a} and {b}")]
    Broadcast {
        /// All the shapes, for the message.
        shapes: String,
        /// The axis counted from the last, 1 being the last.
        axis: usize,
        /// One extent.
        a: usize,
        /// The other.
        b: usize,
    },
    /// An axis outside `-rank..rank`.
    #[error("axis {axis} is outside a tensor of rank {rank}")]
    Axis {
        /// The axis asked for.
        axis: i64,
        /// The rank of the tensor.
        rank: usize,
    },
    /// An element offset outside the tensor.
    #[error("offset {offset} is outside a tensor of {elements} elements")]
    Offset {
        /// The offset asked for.
        offset: usize,
        /// The number of elements.
        elements: usize,
    },
    /// Shapes that should agree and do not.
    #[error("{what}: expected shape {expected}, got {got}")]
    Shape {
        /// Where.
        what: &'static str,
        /// The shape needed.
        expected: Shape,
        /// The shape given.
        got: Shape,
    },
    /// A name that is no data type.
    #[error("unknown data type {name:?}")]
    UnknownDType {
        /// The text given.
        name: String,
    },
    /// A sparse tensor whose parts do not fit together.
    #[error("invalid {format} tensor: {what}")]
    Sparse {
        /// The format: "CSR", "BSR" or "N:M".
        format: &'static str,
        /// The broken invariant.
        what: String,
    },
    /// A file that is not what it claims to be.
    #[error("invalid {format} file: {what}")]
    File {
        /// The format: "npy" or "npz".
        format: &'static str,
        /// What is wrong.
        what: String,
    },
}
