//! `tilewright selftest`: kernels on this driver against plain loops on the host.

use crate::Failure;
use crate::device::{DeviceArgs, model, read_graph};
use crate::run::InputArgs;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use tilewright::device::Variant;
use tilewright::graph::selftest::{Report, Tester, Wrong};
use tilewright::{Gpu, Session, block_on};

/// Arguments of `selftest`.
#[derive(clap::Args)]
#[command(after_help = "Example: tilewright selftest resnet.onnx\n\
    Without a model: the cases of all operators, and products with every loop that the adapter has. With one: what its plan\n\
    runs. Ends with status 1 where a result is wrong.")]
pub(crate) struct Args {
    /// The model.
    model: Option<PathBuf>,
    #[command(flatten)]
    inputs: InputArgs,
    /// List every variant.
    #[arg(long)]
    verbose: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Tests, reports, and fails where anything is wrong.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let gpu = args.device.gpu()?.ok_or("the host has nothing to test")?;
    let report = match &args.model {
        None => everything(&gpu)?,
        Some(path) => planned(args, path, &gpu)?,
    };
    match args.json {
        true => crate::say(&serde_json::to_string_pretty(&as_json(&gpu, &report))?)?,
        false => crate::say(table(args, &gpu, &report)?.trim_end())?,
    }
    match report.wrong.len() {
        0 => Ok(()),
        count => Err(format!("{count} wrong results").into()),
    }
}

fn everything(gpu: &Gpu) -> Result<Report, Failure> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(
        "testing {bar:40} {pos}/{len} {eta}",
    )?);
    let told = |done: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    };
    let report = block_on(Tester::new().everything(gpu, told))?;
    bar.finish_and_clear();
    Ok(report)
}

fn planned(args: &Args, path: &std::path::Path, gpu: &Gpu) -> Result<Report, Failure> {
    let graph = read_graph(path, &args.inputs.options())?;
    let options = args.device.options();
    let inputs = args.inputs.load(&graph, options.limits.memory)?;
    let mut session = Session::new(&model(graph, Some(gpu), options))?;
    let shapes: Vec<(&str, &[usize])> = (inputs.iter())
        .map(|(n, t)| (n.as_str(), &t.shape()[..]))
        .collect();
    Ok(block_on(session.self_test(&shapes, &mut Tester::new()))?)
}

/// What is counted for a shader: right, wrong, unchecked.
fn by_shader(report: &Report) -> BTreeMap<&'static str, [usize; 3]> {
    let mut counts: BTreeMap<&'static str, [usize; 3]> = BTreeMap::new();
    let mut count = |variant: &Variant, at: usize| {
        counts.entry(variant.shader).or_default()[at] += 1;
    };
    report.right.iter().for_each(|v| count(v, 0));
    let wrong = report.wrong.iter().flat_map(|w| &w.variants);
    wrong.for_each(|v| count(v, 1));
    report.unchecked.iter().for_each(|(_, v)| count(v, 2));
    counts
}

fn table(args: &Args, gpu: &Gpu, report: &Report) -> Result<String, Failure> {
    let mut out = String::new();
    writeln!(out, "{}, driver {}", gpu.info().key, gpu.info().driver)?;
    let head = ["shader", "right", "wrong", "unchecked"];
    writeln!(
        out,
        "\n{:24} {:>6} {:>6} {:>10}",
        head[0], head[1], head[2], head[3]
    )?;
    let mut total = [0; 3];
    for (shader, counts) in by_shader(report) {
        let [right, wrong, unchecked] = counts;
        writeln!(out, "{shader:24} {right:>6} {wrong:>6} {unchecked:>10}")?;
        for (sum, n) in total.iter_mut().zip(counts) {
            *sum += n;
        }
    }
    let [right, wrong, unchecked] = total;
    writeln!(
        out,
        "{:24} {right:>6} {wrong:>6} {unchecked:>10}",
        "variants"
    )?;
    if args.verbose {
        writeln!(out)?;
        for variant in &report.right {
            writeln!(out, "right      {variant}")?;
        }
    }
    if !report.wrong.is_empty() || !report.unchecked.is_empty() {
        writeln!(out)?;
    }
    for wrong in &report.wrong {
        writeln!(out, "wrong      {wrong}")?;
    }
    for (op, variant) in &report.unchecked {
        writeln!(out, "unchecked  {op}: {variant}")?;
    }
    Ok(out)
}

fn as_json(gpu: &Gpu, report: &Report) -> serde_json::Value {
    let names = |variants: &[Variant]| variants.iter().map(Variant::to_string).collect::<Vec<_>>();
    let wrong = |wrong: &Wrong| {
        let loops = wrong.quarantined.iter();
        let loops = loops.map(|(c, of)| json!({"class": c.to_string(), "loop": of.to_string()}));
        json!({
            "op": wrong.op, "case": wrong.case, "what": wrong.what, "variants": names(&wrong.variants),
            "quarantined": loops.collect::<Vec<_>>(),
        })
    };
    let unchecked = report.unchecked.iter();
    let unchecked = unchecked.map(|(op, v)| json!({"op": op, "variant": v.to_string()}));
    json!({
        "format": "tilewright-selftest", "version": 1,
        "adapter": gpu.info().key, "driver": gpu.info().driver,
        "right": names(&report.right),
        "wrong": report.wrong.iter().map(wrong).collect::<Vec<_>>(),
        "unchecked": unchecked.collect::<Vec<_>>(),
    })
}
