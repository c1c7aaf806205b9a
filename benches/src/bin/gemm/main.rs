//! GEMM in all its forms on one adapter, alternating in one run: throughput, and ratios between the forms.
//!
//! `gemm [--size N] [--rounds N] [--adapter KEY|software] [--only NAME] [--json FILE]`. Every case computes (or, where sparse,
//! stands for) C = A B of N x N x N on random data; its result is checked against f64 at sampled elements. A sample is one
//! dispatch from submission to completion. The report holds every sample, and the ratios that the project states; where they
//! are stated for (1024 cubed on a software adapter), a miss is an error.

mod cases;
mod data;
mod specialise;

use std::time::Duration;

use serde_json::{Value, json};
use tilewright_benches::{Candidate, Pace, Samples, alternate, judge, load_average, machine};
use tilewright_device::{AdapterChoice, AdapterKind, Gpu, GpuOptions};

use cases::Case;
use data::Data;

type AnyError = Box<dyn std::error::Error>;

/// The size for which the project states ratios, on software adapters.
const STATED_SIZE: usize = 1024;

/// Ratios of times, first over second, and the least that the project states.
const STATED: [(&str, &str, &str, f64); 8] = [
    (
        "dense over BSR 32x32, 90% zeros",
        "default",
        "bsr 32x32 90% zeros",
        4.0,
    ),
    ("f32 over int8", "default", "int8", 1.1),
    ("naive over f32", "naive", "default", 20.0),
    ("workgroup tile over f32", "tile", "default", 3.0),
    (
        "register loop, by hand over slots",
        "reg, by hand",
        "reg, constant sizes",
        0.97,
    ),
    (
        "register loop, by hand over slots and uniforms",
        "reg, by hand",
        "default",
        0.97,
    ),
    (
        "workgroup tile, by hand over slots",
        "tile, by hand",
        "tile, constant sizes",
        0.97,
    ),
    (
        "workgroup tile, by hand over slots and uniforms",
        "tile, by hand",
        "tile",
        0.97,
    ),
];

struct Args {
    size: usize,
    rounds: usize,
    adapter: AdapterChoice,
    only: Option<String>,
    json: Option<String>,
}

/// A case, and what it took.
struct Measured {
    case: Case,
    first: f64,
    samples: Samples,
}

fn main() -> Result<(), AnyError> {
    let args = Args::parse()?;
    let gpu = pollster::block_on(Gpu::new(GpuOptions::new().adapter(args.adapter.clone())))?;
    let head = machine(&gpu);
    let info = gpu.info();
    println!(
        "{}, driver {}; {}^3, {} rounds",
        info.key, info.driver, args.size, args.rounds
    );
    let all = measure(&gpu, &args)?;
    table(&all, args.size);
    for (what, ratio, least) in stated(&all) {
        println!("{what}: {ratio:.2} (at least {least})");
    }
    if let Some(path) = &args.json {
        std::fs::write(path, format!("{:#}\n", report(head, &all, &args)))?;
        println!("wrote {path}");
    }
    if args.size != STATED_SIZE || gpu.caps().kind != AdapterKind::Software {
        return Ok(());
    }
    let missed = stated(&all).filter(|(_, ratio, least)| ratio < least);
    let missed: Vec<_> = missed
        .map(|(what, ratio, least)| format!("{what} {ratio:.2} (at least {least})"))
        .collect();
    Ok(judge(&missed)?)
}

fn measure(gpu: &Gpu, args: &Args) -> Result<Vec<Measured>, AnyError> {
    let mut data = Data::new(gpu, args.size)?;
    let (mut cases, mut candidates) = (vec![], vec![]);
    let wanted = |case: &Case| {
        args.only
            .as_ref()
            .is_none_or(|only| case.name.contains(only))
    };
    for case in cases::all(gpu, &data)?.into_iter().filter(wanted) {
        let replay = data.tensors.bind(gpu, &case.dispatches)?;
        candidates.push(Candidate::new(gpu, replay)?);
        data.check(gpu, &case)?;
        cases.push(case);
    }
    let pace = Pace {
        warm_up: Duration::from_millis(500),
        budget: Duration::ZERO,
        rounds: args.rounds,
    };
    let samples = alternate(gpu, &candidates.iter().collect::<Vec<_>>(), pace, |_| ())?;
    let all = cases.into_iter().zip(candidates).zip(samples);
    Ok(all
        .map(|((case, of), samples)| Measured {
            case,
            first: of.first,
            samples,
        })
        .collect())
}

/// The time of one case over that of another.
fn ratio(all: &[Measured], of: &str, over: &str) -> Option<f64> {
    let time = |name| Some(all.iter().find(|m| m.case.name == name)?.samples.median());
    Some(time(of)? / time(over)?)
}

fn stated(all: &[Measured]) -> impl Iterator<Item = (&'static str, f64, f64)> {
    STATED
        .into_iter()
        .filter_map(|(what, of, over, least)| Some((what, ratio(all, of, over)?, least)))
}

fn table(all: &[Measured], size: usize) {
    let work = 2.0 * (size as f64).powi(3) * 1e-9;
    println!(
        "{:32} {:>9} {:>9} {:>6} {:>9}   ratio to",
        "case", "median", "best", "+-", "first"
    );
    for Measured {
        case,
        first,
        samples,
    } in all
    {
        let ratios = case
            .against
            .iter()
            .filter_map(|name| Some(format!("{name} {:.2}", ratio(all, name, &case.name)?)));
        println!(
            "{:32} {:9.1} {:9.1} {:5.1}% {first:8.3}s   {}",
            case.name,
            work / samples.median(),
            work / samples.min(),
            samples.spread() * 50.0,
            ratios.collect::<Vec<_>>().join(", ")
        );
    }
    println!(
        "dense-equivalent GFLOP/s; +-: half the distance of the quartiles; first: seconds with compilation"
    );
}

fn report(head: Value, all: &[Measured], args: &Args) -> Value {
    let cases = all.iter().map(|of| {
        json!({
            "name": of.case.name,
            "variants": of.case.dispatches.iter().map(|d| d.variant.to_string()).collect::<Vec<_>>(),
            "first_seconds": of.first,
            "times": of.samples.json(),
        })
    });
    let stated = stated(all)
        .map(|(what, ratio, least)| json!({"what": what, "ratio": ratio, "at_least": least}));
    json!({
        "format": "tilewright-bench-gemm",
        "version": 2,
        "machine": head,
        "load_average_after": load_average(),
        "size": args.size,
        "rounds": args.rounds,
        "stated": stated.collect::<Vec<_>>(),
        "cases": cases.collect::<Vec<_>>(),
    })
}

impl Args {
    fn parse() -> Result<Self, AnyError> {
        let mut parsed = Self {
            size: 1024,
            rounds: 10,
            adapter: AdapterChoice::Auto,
            only: None,
            json: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--size" => parsed.size = value.parse()?,
                "--rounds" => parsed.rounds = value.parse()?,
                "--adapter" if value == "software" => parsed.adapter = AdapterChoice::Software,
                "--adapter" => parsed.adapter = AdapterChoice::Key(value),
                "--only" => parsed.only = Some(value),
                "--json" => parsed.json = Some(value),
                _ => return Err(format!("unknown option {flag}").into()),
            }
        }
        if parsed.size == 0 || parsed.size % 128 != 0 {
            return Err(
                "--size must be a multiple of 128, so that the hand-written kernels need no edges"
                    .into(),
            );
        }
        Ok(parsed)
    }
}
