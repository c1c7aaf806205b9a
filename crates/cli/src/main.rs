//! `tilewright`: run, inspect and measure models.

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used)]
mod adapters;
mod bench;
mod device;
mod inspect;
mod run;
mod selftest;
mod suite;
mod tune;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// What a command may fail with: a message for people.
type Failure = Box<dyn std::error::Error>;

/// Runs neural networks on any GPU.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example: tilewright run model.onnx --input x=random --repeat 10"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the adapters and what they can do.
    Adapters(adapters::Args),
    /// Runs a model.
    Run(run::Args),
    /// Shows what becomes of a model: graph, plan, shaders, coverage.
    Inspect(inspect::Args),
    /// Tests kernels on this driver against plain loops on the host.
    Selftest(selftest::Args),
    /// Finds the fastest loops for a model's products on this adapter.
    Tune(tune::Args),
    /// Measures kernels.
    Bench(bench::Args),
    /// Runs a list of test folders (model.onnx, test_data_set_K/input_I.pb) and writes the outputs.
    Suite(suite::Args),
    /// Runs test folders named on standard input; started by `suite`.
    #[command(hide = true)]
    SuiteWorker(suite::WorkerArgs),
}

/// Prints to standard output. A reader that has seen enough (`| head`) is no error.
fn say(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Adapters(args) => adapters::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Inspect(args) => inspect::main(&args),
        Command::Selftest(args) => selftest::main(&args),
        Command::Tune(args) => tune::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Suite(args) => suite::main(&args),
        Command::SuiteWorker(args) => suite::worker(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
