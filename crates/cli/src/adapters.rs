//! `tilewright adapters`.

use crate::Failure;
use tilewright::{Gpu, block_on};

/// Arguments of `adapters`.
#[derive(clap::Args)]
#[command(after_help = "Example: tilewright adapters --json")]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lists adapters, the one that is chosen by itself first.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let adapters = block_on(Gpu::adapters());
    if args.json {
        let list: Vec<_> = adapters
            .iter()
            .map(|a| {
                serde_json::json!({
                    "key": a.key, "name": a.name, "kind": format!("{:?}", a.kind),
                    "backend": format!("{:?}", a.backend), "driver": a.driver,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(());
    }
    if adapters.is_empty() {
        println!(
            "No adapter. Install a Vulkan driver (Debian: apt-get install mesa-vulkan-drivers), or use --device host."
        );
    }
    for a in adapters {
        println!(
            "{}\n  {} ({:?}, {:?}), driver {}",
            a.key, a.name, a.kind, a.backend, a.driver
        );
    }
    Ok(())
}
