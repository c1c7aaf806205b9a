//! `tilewright inspect`: the stages between a file and a result.

use crate::Failure;
use crate::device::{DeviceArgs, model};
use crate::run::inputs_of;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tilewright::onnx::read_model_file;
use tilewright::{Session, block_on};

/// Arguments of `inspect`.
#[derive(clap::Args)]
#[command(after_help = "Example: tilewright inspect model.onnx --stage plan --size batch=4")]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,
    /// What to show: the graph after passes, the plan with ranges and bytes, the assembled shaders, or the nodes that
    /// run on the host.
    #[arg(long, value_enum, default_value_t = Stage::Graph)]
    stage: Stage,
    /// A symbolic size, for example batch=4; sizes not given are 1.
    #[arg(long = "size", value_name = "NAME=N")]
    sizes: Vec<String>,
    /// An input, as in `run`; needed where shapes depend on values.
    #[arg(long = "input", value_name = "NAME=SOURCE")]
    inputs: Vec<String>,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq)]
enum Stage {
    Graph,
    Plan,
    Shaders,
    Coverage,
}

/// Prints the stage.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let gpu = args.device.gpu()?;
    let graph = read_model_file(&args.model)?;
    let mut session = Session::new(&model(graph, gpu.as_ref(), args.device.options()))?;
    if args.stage == Stage::Graph {
        print!("{}", session.graph());
        return Ok(());
    }
    if gpu.is_none() {
        return Err(
            "plans, shaders and coverage are those of an adapter; use --device gpu or a key".into(),
        );
    }
    // A run makes every plan, also of parts whose sizes depend on values.
    let inputs = inputs_of(session.model().graph(), &args.inputs, &args.sizes)?;
    let named: Vec<(&str, _)> = inputs
        .iter()
        .map(|(n, t)| (n.as_str(), t.clone()))
        .collect();
    block_on(session.run(&named))?;
    match args.stage {
        Stage::Plan => session.plans().iter().for_each(|p| print!("{p}")),
        Stage::Coverage => {
            let steps = session.host_steps();
            for s in &steps {
                println!("host  {} `{}`: {}", s.op, s.node, s.reason);
            }
            println!("{} nodes on the host", steps.len());
        }
        _ => {
            let plans = session.plans();
            let variants: BTreeSet<String> = plans
                .iter()
                .flat_map(|p| p.dispatches())
                .map(|d| text(&d.variant))
                .collect();
            variants.iter().for_each(|v| println!("{v}"));
        }
    }
    Ok(())
}

fn text(variant: &tilewright::device::Variant) -> String {
    match tilewright::device::assemble(variant) {
        Ok(source) => format!("// {variant}\n{}", source.text(0)),
        Err(e) => format!("// {variant}\n// {e}"),
    }
}
