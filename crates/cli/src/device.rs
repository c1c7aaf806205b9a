//! The `--device` option, and what goes on the device.

use crate::Failure;
use std::path::Path;
use tilewright::onnx::{Error, ReadOptions, read_model_file_with};
use tilewright::{AdapterChoice, Gpu, GpuOptions, Graph, Model, ModelOptions, RunLimits, block_on};

/// Where to run.
#[derive(clap::Args, Clone)]
pub(crate) struct DeviceArgs {
    /// `gpu` (the best adapter), `host` (no adapter, slow), or an adapter's key from `tilewright adapters`.
    #[arg(long, default_value = "gpu", value_name = "gpu|host|KEY")]
    pub(crate) device: String,
    /// Ask the adapter for default WebGPU limits and no features.
    #[arg(long)]
    pub(crate) default_limits: bool,
    /// Let the model take as much memory, time and iterations as it asks for: for models that you trust.
    #[arg(long)]
    pub(crate) trusted: bool,
}

impl DeviceArgs {
    /// What a model may ask for.
    pub(crate) fn options(&self) -> ModelOptions {
        let mut options = ModelOptions::default();
        if !self.trusted {
            options.limits = RunLimits::strict();
        }
        options
    }

    /// The adapter, or none for the host.
    pub(crate) fn gpu(&self) -> Result<Option<Gpu>, Failure> {
        let gpu = open(&self.device, self.default_limits);
        Ok(gpu.map_err(|e| format!("{e}; `--device host` runs without an adapter"))?)
    }
}

/// The adapter of `gpu`, `host` (none) or a key.
pub(crate) fn open(device: &str, default_limits: bool) -> Result<Option<Gpu>, Failure> {
    let choice = match device {
        "host" => return Ok(None),
        "gpu" => AdapterChoice::Auto,
        key => AdapterChoice::Key(key.to_owned()),
    };
    let mut options = GpuOptions::new().adapter(choice);
    if default_limits {
        options = options.default_limits_only();
    }
    Ok(Some(block_on(Gpu::new(options))?))
}

/// A model on a device, or on the host.
pub(crate) fn model(graph: Graph, gpu: Option<&Gpu>, options: ModelOptions) -> Model {
    match gpu {
        Some(gpu) => Model::new(graph, gpu, options),
        None => Model::host(graph, options),
    }
}

/// The graph of a model file; errors name the file.
pub(crate) fn read_graph(path: &Path, options: &ReadOptions) -> Result<Graph, Failure> {
    read_model_file_with(path, options).map_err(|e| match e {
        Error::File { .. } => e.into(),
        e => format!("{}: {e}", path.display()).into(),
    })
}
