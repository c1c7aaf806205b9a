//! `tilewright tune`: which loops are fastest for a model's products on this adapter.

use crate::Failure;
use crate::device::{DeviceArgs, model, read_graph};
use crate::run::InputArgs;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;
use tilewright::graph::tune::{Report, Row, Tuner};
use tilewright::kernels::Tuning;
use tilewright::{Gpu, Session, block_on};

/// Arguments of `tune`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright tune resnet.onnx --out tuning.json; tilewright run resnet.onnx --tuning tuning.json\n\
    Loops whose result differs are reported and not used. What is in the file for this adapter and driver is kept."
)]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,
    #[command(flatten)]
    inputs: InputArgs,
    /// Write the winners here, for `run --tuning`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// MiB that the operands of one product may take; larger products are skipped.
    #[arg(long, default_value_t = 256)]
    memory: u64,
    /// Samples of each loop; medians and least times are compared.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Least milliseconds of a sample.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    sample: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Tunes, writes, reports.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let graph = read_graph(&args.model, &args.inputs.options())?;
    let limits = args.device.options().limits;
    let inputs = args.inputs.load(&graph, limits.memory)?;
    let gpu = args
        .device
        .gpu()?
        .ok_or("the host has no loops to choose from")?;
    let known = known(args, &gpu)?;
    let mut session = Session::new(&model(graph, Some(&gpu), args.device.options()))?;
    let shapes: Vec<(&str, &[usize])> = (inputs.iter())
        .map(|(n, t)| (n.as_str(), &t.shape()[..]))
        .collect();
    let mut tuner = Tuner::new();
    tuner.memory = args.memory << 20;
    tuner.rounds = args.rounds as usize;
    tuner.sample = Duration::from_millis(args.sample);
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(
        "tuning {bar:40} {pos}/{len} {eta}",
    )?);
    let told = |done: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    };
    let report = block_on(tuner.tune(&mut session, &shapes, told))?;
    bar.finish_and_clear();
    if let Some(path) = &args.out {
        let mut tuning = known.unwrap_or_else(|| report.tuning.clone());
        tuning.merge(&report.tuning)?;
        tuning.save(path)?;
    }
    for wrong in session.quarantined() {
        eprintln!("wrong: {wrong}");
    }
    match args.json {
        true => crate::say(&serde_json::to_string_pretty(&as_json(&report)?)?),
        false => crate::say(table(&report)?.trim_end()),
    }
}

/// What the file has for this adapter and driver. What it has for others is not written over.
fn known(args: &Args, gpu: &Gpu) -> Result<Option<Tuning>, Failure> {
    let Some(path) = args.out.as_deref().filter(|path| path.exists()) else {
        return Ok(None);
    };
    let tuning = Tuning::load(path)?;
    tuning
        .choices(&gpu.info().key, &gpu.info().driver)
        .map_err(|e| format!("{}: {e}; write another file", path.display()))?;
    Ok(Some(tuning))
}

fn table(report: &Report) -> Result<String, Failure> {
    let mut out = String::new();
    let Tuning {
        adapter, driver, ..
    } = &report.tuning;
    writeln!(out, "{adapter}, driver {driver}")?;
    for row in &report.rows {
        let count = row.count;
        let s = if count == 1 { "" } else { "s" };
        writeln!(out, "\n{}  ({count} product{s})", row.site)?;
        for (of, seconds) in &row.times {
            let mark = match (*of == row.winner, *of == row.default) {
                (true, true) => "default, kept",
                (true, false) => "winner",
                (false, true) => "default",
                _ => "",
            };
            writeln!(
                out,
                "  {:40} {:>10.4} ms  {mark}",
                of.to_string(),
                seconds * 1e3
            )?;
        }
        for (of, why) in &row.skipped {
            writeln!(out, "  {:40} skipped: {why}", of.to_string())?;
        }
    }
    let [default, tuned] = report.totals();
    writeln!(out)?;
    if report.rows.iter().any(|row| !row.times.is_empty()) {
        let behind = 100.0 * (default / tuned.max(f64::MIN_POSITIVE) - 1.0);
        writeln!(
            out,
            "products with a choice: {:.3} ms by default, {:.3} ms tuned; the default takes {behind:.1}% more",
            default * 1e3,
            tuned * 1e3
        )?;
    }
    writeln!(out, "{} products have one loop", report.alone)?;
    Ok(out)
}

fn as_json(report: &Report) -> Result<serde_json::Value, Failure> {
    let of = |row: &Row| {
        let times = row.times.iter();
        let times = times.map(|(of, s)| json!({"loop": of.to_string(), "seconds": s}));
        let skipped = row.skipped.iter();
        let skipped = skipped.map(|(of, why)| json!({"loop": of.to_string(), "why": why}));
        json!({
            "site": row.site.to_string(), "count": row.count,
            "default": row.default.to_string(), "winner": row.winner.to_string(), "ratio": row.ratio(),
            "times": times.collect::<Vec<_>>(), "skipped": skipped.collect::<Vec<_>>(),
        })
    };
    let [default, tuned] = report.totals();
    Ok(json!({
        "format": "tilewright-tune", "version": 1,
        "adapter": report.tuning.adapter, "driver": report.tuning.driver,
        "products": report.rows.iter().map(of).collect::<Vec<_>>(), "alone": report.alone,
        "default_seconds": default, "tuned_seconds": tuned,
    }))
}
