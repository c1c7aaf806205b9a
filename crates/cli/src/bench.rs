//! `tilewright bench`: measures kernels on an adapter. One file for each subcommand.

mod sparse;

use crate::Failure;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use tilewright::Gpu;
use tilewright_benches::Pace;

/// Arguments of `bench`.
#[derive(clap::Args)]
#[command(after_help = "Example: tilewright bench sparse --seconds 10 --json")]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Dense against block-sparse (BSR) products over densities, and where they cross.
    Sparse(sparse::Args),
}

/// Runs a bench.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    match &args.bench {
        Bench::Sparse(args) => sparse::main(args),
    }
}

/// What all benches ask for.
#[derive(clap::Args)]
struct Common {
    /// `gpu` (the best adapter), or an adapter's key from `tilewright adapters`.
    #[arg(long, default_value = "gpu", value_name = "gpu|KEY")]
    device: String,
    /// Ask the adapter for default WebGPU limits and no features.
    #[arg(long)]
    default_limits: bool,
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
        let gpu = crate::device::open(&self.device, self.default_limits)?;
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
