//! ONNX models in and out: protobuf messages, tensors, attributes, and where weights outside the model file come from.
//!
//! - [`proto`]: the messages as the specification defines them.
//! - [`read_model`]: a model as a graph.
//! - [`decode_model`], [`Imports`], [`Functions`]: a model and what its nodes refer to.
//! - [`read_tensor`], [`write_tensor`], [`load_tensor`], [`save_tensor`]: tensors.
//! - [`read_value_info`], [`read_attribute`]: types and attributes.
//! - [`ExternalData`]: where the bytes of large tensors lie; [`ModelDir`] reads them from the model's folder.
//! - [`DataSource`]: bytes that can be read again, so that large weights need not stay in memory.
//!
//! Section names in comments are those of the ONNX repository's `docs/IR.md` and `onnx/onnx.proto`.

#![warn(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod attribute;
mod error;
mod external;
mod model;
mod options;
#[expect(
    missing_docs,
    reason = "generated; the meaning of every field is told in onnx.proto"
)]
pub mod proto;
mod read;
mod source;
mod sparse;
mod tensor;
mod upgrade;
mod value;

pub use attribute::{read_attribute, write_attribute};
pub use error::{Error, Result};
pub use external::{ExternalData, ModelDir, NoExternalData};
pub use model::{Functions, Imports, decode_model, encode_model, node_label, normal_domain};
pub use options::{MakeCustom, ReadOptions, Registry};
pub use prost::bytes::Bytes;
pub use read::{NEWEST_OPSET, read_model, read_model_file, read_model_file_with, read_model_with};
pub use source::{DataSource, FileRange};
pub use sparse::read_sparse_tensor;
pub use tensor::{load_tensor, read_tensor, save_tensor, write_tensor};
pub use value::{Size, ValueInfo, read_value_info};
