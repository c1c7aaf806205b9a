//! GEMM in all its forms on one adapter, alternating in one run: throughput, and ratios between the forms.
//!
//! `gemm [--size N] [--rounds N] [--adapter KEY|software] [--only NAME] [--json FILE]`. Every case computes (or, where sparse,
//! stands for) C = A B of N x N x N on random data; its result is checked against f64 at sampled elements. A sample is one
//! dispatch from submission to completion. The report holds every sample.

mod cases;
mod specialise;

use std::time::Instant;

use tilewright_device::{AdapterChoice, Budget, Gpu, GpuOptions, Recorder, Replay, SubmitOptions};

use cases::{Case, Data};

type AnyError = Box<dyn std::error::Error>;

struct Args {
    size: usize,
    rounds: usize,
    adapter: AdapterChoice,
    only: Option<String>,
    json: Option<String>,
}

/// Seconds of each sample of a case.
struct Measured {
    case: Case,
    replay: Replay,
    first: f64,
    wall: Vec<f64>,
    /// Processor time over the number of processors, where the system tells it: what a software adapter would take alone on the
    /// machine.
    cpu: Vec<f64>,
}

fn main() -> Result<(), AnyError> {
    let args = Args::parse()?;
    let gpu = pollster::block_on(Gpu::new(GpuOptions::new().adapter(args.adapter.clone())))?;
    println!(
        "{}, driver {}; {}^3, {} rounds",
        gpu.info().key,
        gpu.info().driver,
        args.size,
        args.rounds
    );
    let data = Data::new(&gpu, args.size)?;
    let mut all = Vec::new();
    for case in cases::all(&gpu, &data)? {
        if args
            .only
            .as_ref()
            .is_none_or(|only| case.name.contains(only))
        {
            let replay = pollster::block_on(gpu.bind(&case.dispatches, |slot| data.place(slot)))?;
            let first = sample(&gpu, &replay)?.0;
            data.check(&gpu, &case)?;
            all.push(Measured {
                case,
                replay,
                first,
                wall: Vec::new(),
                cpu: Vec::new(),
            });
        }
    }
    // The first round warms up.
    for round in 0..=args.rounds {
        for of in &mut all {
            let (wall, cpu) = sample(&gpu, &of.replay)?;
            if round > 0 {
                of.wall.push(wall);
                of.cpu.extend(cpu);
            }
        }
    }
    table(&all, args.size);
    if let Some(path) = &args.json {
        std::fs::write(
            path,
            serde_json::to_string_pretty(&report(&gpu, &all, &args))?,
        )?;
        println!("wrote {path}");
    }
    Ok(())
}

fn sample(gpu: &Gpu, replay: &Replay) -> Result<(f64, Option<f64>), AnyError> {
    let cpu = cpu_seconds();
    let start = Instant::now();
    Recorder::new(gpu)
        .run(replay)
        .submit(SubmitOptions::new().budget(Budget::Unlimited))?;
    pollster::block_on(gpu.done())?;
    let wall = start.elapsed().as_secs_f64();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let spent = cpu_seconds()
        .zip(cpu)
        .map(|(end, begin)| (end - begin) / processors as f64);
    Ok((wall, spent))
}

/// Processor time of all threads of this process so far. Linux only.
fn cpu_seconds() -> Option<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += stat.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 * 1e-9)
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn table(all: &[Measured], size: usize) {
    let work = 2.0 * (size as f64).powi(3) * 1e-9;
    let software = all.iter().all(|of| !of.cpu.is_empty());
    println!(
        "{:32} {:>9} {:>9} {:>8}   ratio to",
        "case",
        "wall",
        if software { "cpu" } else { "" },
        "first"
    );
    for of in all {
        let time = |of: &Measured| median(if software { &of.cpu } else { &of.wall });
        let ratios = of.case.against.iter().filter_map(|name| {
            let other = all.iter().find(|other| other.case.name == *name)?;
            Some(format!("{name} {:.2}", time(other) / time(of)))
        });
        let ratios = ratios.collect::<Vec<_>>().join(", ");
        let cpu = if software {
            format!("{:.1}", work / median(&of.cpu))
        } else {
            String::new()
        };
        println!(
            "{:32} {:9.1} {cpu:>9} {:7.3}s   {ratios}",
            of.case.name,
            work / median(&of.wall),
            of.first
        );
    }
    println!("wall and cpu in dense-equivalent GFLOP/s, medians; first: seconds with compilation");
}

fn report(gpu: &Gpu, all: &[Measured], args: &Args) -> serde_json::Value {
    let info = gpu.info();
    let cases: Vec<_> = all
        .iter()
        .map(|of| {
            serde_json::json!({
                "name": of.case.name,
                "variants": of.case.dispatches.iter().map(|d| d.variant.to_string()).collect::<Vec<_>>(),
                "first_seconds": of.first,
                "wall_seconds": of.wall,
                "cpu_seconds": of.cpu,
            })
        })
        .collect();
    serde_json::json!({
        "format": "tilewright-bench-gemm",
        "version": 1,
        "adapter": info.key,
        "driver": info.driver,
        "size": args.size,
        "rounds": args.rounds,
        "cases": cases,
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
