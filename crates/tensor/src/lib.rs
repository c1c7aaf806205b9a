//! Host-side data of Tilewright: data types, shapes, dense and sparse tensors, NumPy files. No GPU.
//!
//! - [`DType`]: element types; sub-byte ones are held one byte an element.
//! - [`Shape`]: extents with checked products, NumPy broadcasting, and odometers for reference loops.
//! - [`HostTensor`]: a dense row-major tensor, cheap to clone.
//! - [`SparseTensor`]: matrices as CSR, BSR or N:M.
//! - [`npy`], [`npz`]: NumPy files, from and to bytes.
//! - [`compare`]: error measures for tests and benches.

#![warn(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod cast;
pub mod compare;
mod display;
mod dtype;
mod element;
mod error;
mod host;
mod index;
pub mod npy;
pub mod npz;
mod shape;
mod sparse;
mod storage;

pub use compare::{Mismatch, allclose, max_abs_diff, nmse};
pub use dtype::DType;
pub use element::Element;
pub use error::{Error, Result};
pub use half::{bf16, f16};
pub use host::HostTensor;
pub use index::{Indices, Offsets};
pub use shape::Shape;
pub use sparse::{Bsr, Csr, NofM, SparseTensor};
pub use storage::StorageRef;
