//! Tilewright: a GPU compute engine for neural networks on `wgpu`.
//!
//! ```no_run
//! use tilewright::{Gpu, GpuOptions, HostTensor, Model, ModelOptions, Session};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let graph = tilewright::onnx::read_model_file("model.onnx")?;
//! let gpu = tilewright::block_on(Gpu::new(GpuOptions::new()))?;
//! let model = Model::new(graph, &gpu, ModelOptions::default());
//! let mut session = Session::new(&model)?;
//! let image = HostTensor::from_vec([1, 1, 8, 8], vec![0.0f32; 64])?;
//! let outputs = tilewright::block_on(session.run(&[("image", image)]))?;
//! println!("{}", outputs[0].1);
//! # Ok(())
//! # }
//! ```
#![warn(clippy::unwrap_used)]
#![forbid(unsafe_code)]

pub use tilewright_device as device;
pub use tilewright_graph as graph;
pub use tilewright_kernels as kernels;
pub use tilewright_onnx as onnx;
pub use tilewright_tensor as tensor;

pub use device::{AdapterChoice, AdapterInfo, AdapterKind, Caps, Gpu, GpuOptions};
pub use graph::{
    Dispatched, Fallback, Graph, HostStep, Model, ModelOptions, NodeTime, RunLimits, SelfTest,
    Session,
};
pub use tensor::{DType, HostTensor, Shape};

#[cfg(not(target_arch = "wasm32"))]
pub use pollster::block_on;
