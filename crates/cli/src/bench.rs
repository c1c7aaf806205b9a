//! `tilewright bench`: measures kernels on an adapter. One file for each subcommand; those but `sparse` describe cases (`work`),
//! which `driver` measures beside peers and `report` tells.

mod attention;
mod compare;
mod conv;
mod data;
mod driver;
mod exact;
mod gemm;
mod html;
mod map;
mod model;
mod ours;
mod peaks;
mod peer;
mod report;
mod sparse;
mod subject;
mod work;

use crate::Failure;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use tilewright::Gpu;
use tilewright_benches::Pace;

/// Arguments of `bench`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright bench gemm --size 512,1024 --peer \"python3 benches/peers/peers.py numpy\" --html report.html"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Products of matrices.
    Gemm(gemm::Args),
    /// Convolutions, one or the layers of a network.
    Conv(conv::Args),
    /// Attention.
    Attention(attention::Args),
    /// Functions that memory limits: sums, activations, softmax, normalisation.
    Map(map::Args),
    /// Whole runs of a model.
    Model(model::Args),
    /// Compares two reports.
    Compare(compare::Args),
    /// Dense against block-sparse (BSR) products over densities, and where they cross.
    Sparse(sparse::Args),
}

/// Runs a bench.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    match &args.bench {
        Bench::Gemm(args) => gemm::main(args),
        Bench::Conv(args) => conv::main(args),
        Bench::Attention(args) => attention::main(args),
        Bench::Map(args) => map::main(args),
        Bench::Model(args) => model::main(args),
        Bench::Compare(args) => compare::main(args),
        Bench::Sparse(args) => sparse::main(args),
    }
}

/// What `sparse` asks for besides.
#[derive(clap::Args)]
struct Common {
    /// `gpu` (the best adapter), or an adapter's key from `tilewright adapters`.
    #[arg(long, default_value = "gpu", value_name = "gpu|KEY")]
    device: String,
    /// Ask the adapter for default WebGPU limits and no features.
    #[arg(long)]
    default_limits: bool,
    /// Leave the runtime checks of bounds and loops out of shaders (docs/shaders.md says what that gains).
    #[arg(long)]
    trusted: bool,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seed of the random data.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON, with every sample.
    #[arg(long)]
    json: bool,
}

impl Common {
    fn gpu(&self) -> Result<Gpu, Failure> {
        let gpu = crate::device::open(&self.device, self.default_limits, self.trusted)?;
        Ok(gpu.ok_or("a bench needs an adapter")?)
    }

    /// A fifth of the time warms up; the rounds that count are at least ten.
    fn pace(&self) -> Result<Pace, Failure> {
        let budget = Duration::try_from_secs_f64(self.seconds);
        let budget = budget.map_err(|e| format!("--seconds {}: {e}", self.seconds))?;
        Ok(Pace {
            warm_up: budget / 5,
            budget,
            rounds: 10,
        })
    }
}

/// A bar of a hundred steps on standard error, if that is a terminal.
fn bar(message: &'static str) -> Result<ProgressBar, Failure> {
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}% {eta}")?;
    Ok(ProgressBar::new(100)
        .with_style(style)
        .with_message(message))
}
