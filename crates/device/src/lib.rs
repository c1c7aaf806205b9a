//! Adapters, buffers, shader variants and recorded dispatches on `wgpu`.
//!
//! This is the only crate of the engine that names `wgpu`; it re-exports it, so that an embedder
//! shares its types. The plain data ([`Caps`], [`Variant`], [`Dispatch`]) needs no GPU.

#![warn(clippy::unwrap_used)]
pub use wgpu;

mod adapter;
mod assemble;
mod audit;
mod binder;
mod buffer;
mod caps;
mod dispatch;
mod error;
mod gpu;
mod health;
mod platform;
mod profiler;
mod program;
mod recorder;
mod replay;
mod source;
mod transfer;
mod variant;
#[cfg(not(target_arch = "wasm32"))]
mod words;

pub use adapter::{AdapterChoice, AdapterInfo, GpuOptions};
pub use assemble::assemble;
pub use audit::Fault;
pub use buffer::{Buffer, BufferUse, MemoryStats};
pub use caps::{AdapterKind, Backend, Caps, CoopMatrix, CoopState, Limits};
pub use dispatch::{Dispatch, Param, Slot, Span, fold_groups};
pub use error::{Error, Result};
pub use gpu::Gpu;
pub use platform::{BoxFuture, ThreadSafe};
pub use profiler::{Profiler, Timing};
pub use program::{Program, ProgramKey};
pub use recorder::{Budget, CancelToken, Recorder, SubmitOptions};
pub use replay::{BoundDispatch, Replay};
pub use source::{BindingInfo, ParamInfo, ParamType, Source};
pub use variant::{Set, Variant};
#[cfg(not(target_arch = "wasm32"))]
pub use words::as_words;
