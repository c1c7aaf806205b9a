//! The `--device` option, and what goes on the device.

use crate::Failure;
use std::path::Path;
use tilewright::kernels::Choices;
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
    /// Set no bounds on the memory, time, work and loop iterations that the model may ask for; without this they are 2 GiB,
    /// ten minutes, 2^36 steps of a node on the host, and a million iterations.
    #[arg(long)]
    pub(crate) no_limits: bool,
}

impl DeviceArgs {
    /// What a model may ask for.
    pub(crate) fn options(&self) -> ModelOptions {
        let mut options = ModelOptions::default();
        options.limits = match self.no_limits {
            true => RunLimits::none(),
            false => RunLimits::strict(),
        };
        options
    }

    /// The adapter, or none for the host.
    pub(crate) fn gpu(&self) -> Result<Option<Gpu>, Failure> {
        open(&self.device, self.default_limits, false)
    }
}

/// What to do where there is no adapter.
pub(crate) const NO_ADAPTER: &str = "Install a Vulkan driver (Debian: apt-get install mesa-vulkan-drivers), or use --device host (`run` and `suite`)";

/// The adapter of `gpu`, `host` (none) or a key; `trusted` as in [`GpuOptions::trusted`].
pub(crate) fn open(
    device: &str,
    default_limits: bool,
    trusted: bool,
) -> Result<Option<Gpu>, Failure> {
    let choice = match device {
        "host" => return Ok(None),
        "gpu" => AdapterChoice::Auto,
        key => AdapterChoice::Key(key.to_owned()),
    };
    let mut options = GpuOptions::new().adapter(choice);
    if default_limits {
        options = options.default_limits_only();
    }
    if trusted {
        options = options.trusted();
    }
    match block_on(Gpu::new(options)) {
        Ok(gpu) => Ok(Some(gpu)),
        // A wrong key is answered with the keys that there are.
        Err(e @ tilewright::device::Error::NoAdapter { .. }) => {
            Err(match block_on(Gpu::adapters()).is_empty() {
                true => format!("no adapter. {NO_ADAPTER}"),
                false => format!("{e}; `--device host` runs without an adapter"),
            }
            .into())
        }
        Err(e) => Err(format!("{e}; `--device host` runs without an adapter").into()),
    }
}

/// A model on a device, or on the host.
pub(crate) fn model(graph: Graph, gpu: Option<&Gpu>, options: ModelOptions) -> Model {
    model_with(graph, gpu, options, Choices::new())
}

/// [`model`], with other loops than the default ones.
pub(crate) fn model_with(
    graph: Graph,
    gpu: Option<&Gpu>,
    options: ModelOptions,
    choices: Choices,
) -> Model {
    match gpu {
        Some(gpu) => Model::with_choices(graph, gpu, options, choices),
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::time::Duration;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        device: DeviceArgs,
    }

    fn limits(args: &[&str]) -> RunLimits {
        let line = [&["tilewright"], args].concat();
        Line::parse_from(line).device.options().limits
    }

    #[test]
    fn limits_are_strict_unless_lifted() {
        let (strict, none) = (limits(&[]), limits(&["--no-limits"]));
        assert_eq!((strict.memory, strict.work), (2 << 30, 1 << 36));
        assert_eq!(strict.loop_iterations, 1_000_000);
        assert_eq!(strict.wall_time, Duration::from_secs(600));
        assert_eq!(
            [none.memory, none.work, none.loop_iterations],
            [u64::MAX; 3]
        );
        assert_eq!(none.wall_time, Duration::MAX);
    }
}
