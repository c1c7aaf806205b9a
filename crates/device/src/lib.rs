//! Adapters, buffers, shader variants and recorded dispatches on `wgpu`.
//!
//! This is the only crate of the engine that names `wgpu`; it re-exports it, so that an embedder
//! shares its types. The plain data ([`Caps`], [`Variant`], [`Dispatch`]) needs no GPU.

pub use wgpu;

mod assemble;
mod caps;
mod dispatch;
mod error;
mod source;
mod variant;

pub use assemble::assemble;
pub use caps::{AdapterKind, Backend, Caps, Limits};
pub use dispatch::{Dispatch, Param, Slot, Span, fold_groups};
pub use error::{Error, Result};
pub use source::{BindingInfo, ParamInfo, ParamType, Source};
pub use variant::{Set, Variant};
