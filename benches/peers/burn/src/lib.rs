//! Runs benchmark work with burn on its wgpu backend, with autotuning and fusion as they come by default.
//!
//! Whether kernels are compiled to WGSL or to SPIR-V is a choice of burn's features at build time, and of what the adapter
//! can do; the peer's name tells what it became.

mod eager;
mod model;
mod onnx;

use burn::tensor::Device;
use burn_backend::Backend;
use burn_dispatch::Dispatch;
use peer_protocol::{Hello, Work, serve};

const BURN: &str = "0.22.1";

/// The `main` of both programs.
///
/// # Errors
///
/// If stdin or stdout is closed.
pub fn run() -> std::io::Result<()> {
    let device = Device::wgpu(Default::default());
    let adapter = device.identity().map(|identity| identity.name);
    // "fusion<cubecl<wgpu<spirv>>>" or "..<wgsl>>>": what serves this device, not what was asked for.
    let backend = Dispatch::name(device.as_dispatch());
    let language = if backend.contains("<spirv>") {
        "spirv"
    } else {
        "wgsl"
    };
    let hello = Hello {
        peer: format!("burn-wgpu-{language}"),
        version: BURN.to_owned(),
        device: adapter.unwrap_or_else(|| "unknown".to_owned()),
    };
    serve(hello, |work| match work {
        Work::Gemm(gemm) => Ok(eager::gemm(&device, gemm)),
        Work::Conv(conv) => Ok(eager::conv(&device, conv)),
        Work::Attention(attention) => Ok(eager::attention(&device, attention)),
        Work::Map(map) => Ok(eager::map(&device, map)),
        Work::Model(work) => Ok(Box::new(model::load(&device, work)?)),
    })
}
