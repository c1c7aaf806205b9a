//! `tilewright inspect`: the stages between a file and a result.

use crate::Failure;
use crate::device::{DeviceArgs, model, read_graph};
use crate::run::InputArgs;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tilewright::{HostTensor, Session, block_on};

/// Arguments of `inspect`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright inspect model.onnx --stage plan --size batch=4\n\
    Inputs not given are random; they matter only where shapes depend on values."
)]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,
    /// What to show: the graph after passes, the plan with ranges and bytes, the assembled shaders, or the nodes that
    /// run on the host.
    #[arg(long, value_enum, default_value_t = Stage::Graph)]
    stage: Stage,
    #[command(flatten)]
    inputs: InputArgs,
    /// Print JSON (coverage and plan: figures; graph and shaders: their text).
    #[arg(long)]
    json: bool,
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
    let graph = read_graph(&args.model, &args.inputs.options())?;
    let mut session = Session::new(&model(graph, gpu.as_ref(), args.device.options()))?;
    if args.stage == Stage::Graph {
        let text = session.graph().to_string();
        return show(args, json!({"graph": text}), &text);
    }
    if gpu.is_none() {
        let what = "plans, shaders and coverage are those of an adapter, and the host has none; use --device gpu, for which a software driver is enough (Debian: apt-get install mesa-vulkan-drivers)";
        return Err(what.into());
    }
    // A run makes every plan, also of parts whose sizes depend on values.
    let inputs =
        (args.inputs).load(session.model().graph(), args.device.options().limits.memory)?;
    let named: Vec<(&str, HostTensor)> =
        (inputs.iter().map(|(n, t)| (n.as_str(), t.clone()))).collect();
    block_on(session.run(&named))?;
    match args.stage {
        Stage::Coverage => coverage(args, &session),
        Stage::Plan => plan(args, &session),
        _ => shaders(args, &session),
    }
}

fn show(args: &Args, json: serde_json::Value, text: &str) -> Result<(), Failure> {
    match args.json {
        true => crate::say(&serde_json::to_string_pretty(&json)?),
        false => crate::say(text.trim_end()),
    }
}

fn coverage(args: &Args, session: &Session) -> Result<(), Failure> {
    let steps = session.host_steps();
    let dispatches: usize = session.plans().iter().map(|p| p.dispatches().count()).sum();
    let mut text = String::new();
    for s in &steps {
        text += &format!("host  {} `{}`: {}\n", s.op, s.node, s.reason);
    }
    text += &format!(
        "{} nodes on the host; {dispatches} dispatches on the device",
        steps.len()
    );
    let host: Vec<_> = (steps.iter())
        .map(|s| json!({"node": s.node, "op": s.op, "reason": s.reason}))
        .collect();
    show(args, json!({"host": host, "dispatches": dispatches}), &text)
}

fn plan(args: &Args, session: &Session) -> Result<(), Failure> {
    let plans = session.plans();
    let text: String = plans.iter().map(|p| p.to_string()).collect();
    let figures: Vec<_> = (plans.iter())
        .map(|p| {
            json!({
                "arena_bytes": p.arena, "lower_bound_bytes": p.lower_bound,
                "dispatches": p.dispatches().count(), "stages": p.stages.len(),
            })
        })
        .collect();
    show(args, json!({"plans": figures}), &text)
}

fn shaders(args: &Args, session: &Session) -> Result<(), Failure> {
    let plans = session.plans();
    let variants: BTreeSet<String> = (plans.iter())
        .flat_map(|p| p.dispatches())
        .map(|d| text(&d.variant))
        .collect();
    let texts: Vec<String> = variants.into_iter().collect();
    show(args, json!({"shaders": texts}), &texts.join("\n"))
}

fn text(variant: &tilewright::device::Variant) -> String {
    match tilewright::device::assemble(variant) {
        Ok(source) => format!("// {variant}\n{}", source.text(0)),
        Err(e) => format!("// {variant}\n// {e}"),
    }
}
