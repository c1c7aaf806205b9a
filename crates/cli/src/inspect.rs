//! `tilewright inspect`: the stages between a file and a result.

use crate::Failure;
use crate::device::{DeviceArgs, model, read_graph};
use crate::run::InputArgs;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tilewright::graph::lower::{Derived, Place};
use tilewright::graph::plan::Plan;
use tilewright::graph::stage::Schedule;
use tilewright::graph::{Bindings, bind, coverage, passes};
use tilewright::{Caps, Gpu, Graph, HostTensor, Session, block_on};

/// Arguments of `inspect`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples: tilewright inspect model.onnx --stage plan --size batch=4\n          \
    tilewright inspect model.onnx --stage coverage --caps discrete\n\
    Inputs not given are random; they matter only where shapes depend on values."
)]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,
    /// What to show: the graph after passes, the plan with ranges and bytes, the assembled shaders, or the nodes that
    /// run on the host, in bodies of control flow too.
    #[arg(long, value_enum, default_value_t = Stage::Graph)]
    stage: Stage,
    /// Show it for an adapter of this kind instead of one that is here: what every WebGPU implementation has, lavapipe
    /// without f16, or a discrete GPU. Parts whose shapes come from a run have no plan then.
    #[arg(long, value_enum, conflicts_with_all = ["device", "default_limits"])]
    caps: Option<Kind>,
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

/// Adapters that need not be here.
#[derive(clap::ValueEnum, Clone, Copy)]
enum Kind {
    Default,
    Software,
    Discrete,
}

impl Kind {
    fn caps(self) -> Caps {
        match self {
            Kind::Default => Caps::webgpu_default(),
            Kind::Software => Caps::software(8),
            Kind::Discrete => Caps::discrete(),
        }
    }
}

/// Prints the stage.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let graph = read_graph(&args.model, &args.inputs.options())?;
    let (gpu, caps) = target(args)?;
    let memory = args.device.options().limits.memory;
    if args.stage == Stage::Graph {
        let text = match &caps {
            Some(caps) => passed(&graph, caps, memory)?.to_string(),
            None => graph.to_string(),
        };
        return show(args, json!({"graph": text}), &text);
    }
    let Some(caps) = caps else {
        let what = "plans, shaders and coverage are those of an adapter, and the host has none; --caps default shows those of any adapter";
        return Err(what.into());
    };
    let inputs = args.inputs.load(&graph, memory)?;
    match (args.stage, gpu) {
        (Stage::Coverage, _) => covered(args, &graph, &caps, &inputs),
        // A run makes every plan, also of parts whose sizes depend on values.
        (stage, Some(gpu)) => {
            let named: Vec<(&str, HostTensor)> =
                (inputs.iter().map(|(n, t)| (n.as_str(), t.clone()))).collect();
            let mut session = Session::new(&model(graph, Some(&gpu), args.device.options()))?;
            block_on(session.run(&named))?;
            planned(args, stage, &session.plans())
        }
        (stage, None) => planned(args, stage, &[&bound(&graph, &caps, memory, &inputs)?]),
    }
}

/// The adapter, if one is here and wanted, and what to show the stage for; nothing for the host.
fn target(args: &Args) -> Result<(Option<Gpu>, Option<Caps>), Failure> {
    if let Some(kind) = args.caps {
        return Ok((None, Some(kind.caps())));
    }
    if args.device.device == "gpu" && block_on(Gpu::adapters()).is_empty() {
        eprintln!("no adapter is here; this is for --caps default");
        return Ok((None, Some(Kind::Default.caps())));
    }
    let gpu = args.device.gpu()?;
    let caps = gpu.as_ref().map(|gpu| gpu.caps().clone());
    Ok((gpu, caps))
}

/// The graph as a session would have it.
fn passed(graph: &Graph, caps: &Caps, memory: u64) -> Result<Graph, Failure> {
    Ok(passes::device(&passes::weights(graph, memory)?, caps)?)
}

/// The plan of what is not late, for the sizes of these inputs.
fn bound(
    graph: &Graph,
    caps: &Caps,
    memory: u64,
    inputs: &[(String, HostTensor)],
) -> Result<Plan, Failure> {
    let mut bindings = Bindings::default();
    for ((_, v), (_, tensor)) in graph.inputs().iter().zip(inputs) {
        let sizes = graph.fact(*v).into_iter().flat_map(|f| &f.shape);
        for (dim, &size) in sizes.zip(tensor.shape().iter()) {
            if let Some(symbol) = dim.as_symbol() {
                bindings.set(symbol.clone(), size as i64);
            }
        }
    }
    let graph = passed(graph, caps, memory)?;
    let schedule = Schedule::new(&graph, Some(caps))?;
    let derived = Derived::default();
    Ok(bind::bind(&graph, &schedule, &bindings, caps, &derived)?)
}

fn show(args: &Args, json: serde_json::Value, text: &str) -> Result<(), Failure> {
    match args.json {
        true => crate::say(&serde_json::to_string_pretty(&json)?),
        false => crate::say(text.trim_end()),
    }
}

fn covered(
    args: &Args,
    graph: &Graph,
    caps: &Caps,
    inputs: &[(String, HostTensor)],
) -> Result<(), Failure> {
    let limits = args.device.options().limits;
    let found = coverage(graph, caps, &limits)?;
    let dispatches = bound(graph, caps, limits.memory, inputs)?
        .dispatches()
        .count();
    let mut text = String::new();
    for s in &found.host {
        text += &format!("host  {} `{}`: {}\n", s.op, s.node, s.reason);
    }
    let mut late = vec![];
    for node in &found.late {
        let place = match &node.place {
            Some(Place::Host(reason)) => format!("host: {reason}"),
            Some(_) => "device, by the types of its inputs".to_owned(),
            None => "not known, as its inputs are late".to_owned(),
        };
        text += &format!("late  {} `{}`: {place}\n", node.op, node.node);
        late.push(json!({"node": node.node, "op": node.op, "place": place}));
    }
    text += &format!(
        "{} nodes on the host; {} on the device, in {dispatches} dispatches; {} late",
        found.host.len(),
        found.device,
        late.len()
    );
    let host: Vec<_> = (found.host.iter())
        .map(|s| json!({"node": s.node, "op": s.op, "reason": s.reason}))
        .collect();
    let json = json!({
        "host": host, "late": late, "device": found.device, "dispatches": dispatches,
    });
    show(args, json, &text)
}

fn planned(args: &Args, stage: Stage, plans: &[&Plan]) -> Result<(), Failure> {
    match stage {
        Stage::Plan => plan(args, plans),
        _ => shaders(args, plans),
    }
}

fn plan(args: &Args, plans: &[&Plan]) -> Result<(), Failure> {
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

fn shaders(args: &Args, plans: &[&Plan]) -> Result<(), Failure> {
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
