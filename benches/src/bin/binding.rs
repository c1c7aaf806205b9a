//! What a new size costs: binding a plan, and putting it on the device with its programs already made.
//!
//! `binding [--model FILE]... [--nodes N] [--json FILE]`. Every graph with symbolic sizes is bound at a new batch each time, as a
//! session does when it meets one; a graph of N nodes (1,000) is always among them. Microseconds a node that is placed, medians;
//! both together above the stated time are an error.

use std::time::Instant;

use serde_json::{Value, json};
use tilewright::graph::bind::bind;
use tilewright::graph::lower::{Derived, SlotUse};
use tilewright::graph::stage::Schedule;
use tilewright::graph::{Attrs, Bindings, Dim, Fact, Op, Symbol, passes, samples};
use tilewright::{DType, Gpu, GpuOptions, Graph};
use tilewright_benches::{judge, machine};
use tilewright_device::{Buffer, BufferUse};

type AnyError = Box<dyn std::error::Error>;

/// What the project states of both together, in microseconds a node.
const MOST: f64 = 20.0;
/// Batches that are bound; the first few warm up.
const BATCHES: i64 = 60;
const WARM_UP: usize = 10;

struct Args {
    models: Vec<String>,
    nodes: usize,
    json: Option<String>,
}

/// Microseconds a node.
struct Measured {
    name: String,
    nodes: usize,
    dispatches: usize,
    plan: Vec<f64>,
    device: Vec<f64>,
}

fn main() -> Result<(), AnyError> {
    let args = Args::parse()?;
    let gpu = pollster::block_on(Gpu::new(GpuOptions::new()))?;
    println!("{}, driver {}", gpu.info().key, gpu.info().driver);
    println!(
        "{:40} {:>6} {:>10} {:>10} {:>10}",
        "graph", "nodes", "dispatches", "plan", "device"
    );
    let mut all = vec![];
    for path in &args.models {
        all.push(measure(
            &gpu,
            path,
            &tilewright::onnx::read_model_file(path)?,
        )?);
    }
    all.push(measure(&gpu, "chain", &chain(args.nodes)?)?);
    for m in &all {
        println!(
            "{:40} {:>6} {:>10} {:>7.2} us {:>7.2} us",
            m.name,
            m.nodes,
            m.dispatches,
            median(&m.plan),
            median(&m.device)
        );
    }
    println!("medians a node; both together are to stay below {MOST} us");
    if let Some(path) = &args.json {
        std::fs::write(path, format!("{:#}\n", report(&gpu, &all)))?;
        println!("wrote {path}");
    }
    let both = all
        .iter()
        .map(|m| (&m.name, median(&m.plan) + median(&m.device)));
    let missed: Vec<_> = both
        .filter(|(_, both)| *both > MOST)
        .map(|(name, both)| format!("{name} {both:.1} us (at most {MOST})"))
        .collect();
    Ok(judge(&missed)?)
}

/// Binds at one batch after the other.
fn measure(gpu: &Gpu, name: &str, graph: &Graph) -> Result<Measured, AnyError> {
    let caps = gpu.caps();
    let graph = passes::device(graph, caps)?;
    let schedule = Schedule::new(&graph, Some(caps))?;
    let nodes = schedule.places.iter().flatten().count();
    let derived = Derived::default();
    let mut measured = Measured {
        name: name.into(),
        nodes,
        dispatches: 0,
        plan: vec![],
        device: vec![],
    };
    // All weights stand in one buffer here: what is in them does not matter to binding.
    let (mut arena, mut weights) = (None, None);
    for batch in 1..=BATCHES {
        let mut bindings = Bindings::default();
        for symbol in graph.symbols() {
            bindings.set(symbol, batch);
        }
        let start = Instant::now();
        let plan = bind(&graph, &schedule, &bindings, caps, &derived)?;
        measured
            .plan
            .push(start.elapsed().as_secs_f64() * 1e6 / nodes as f64);
        let dispatches: Vec<_> = plan.dispatches().collect();
        measured.dispatches = dispatches.len();
        let widest = dispatches
            .iter()
            .flat_map(|d| &d.spans)
            .map(|(_, span)| span.bytes);
        let widest = widest.max().unwrap_or(0);
        room(gpu, &mut arena, plan.arena)?;
        room(gpu, &mut weights, widest)?;
        let place = |slot| {
            let root = plan.root(slot);
            match &plan.slots[root.0 as usize] {
                SlotUse::Arena { .. } => Some((arena.clone()?, plan.offsets[root.0 as usize])),
                _ => Some((weights.clone()?, 0)),
            }
        };
        let start = Instant::now();
        let replay = pollster::block_on(gpu.bind(&dispatches, place))?;
        let seconds = start.elapsed().as_secs_f64();
        measured.device.push(seconds * 1e6 / nodes as f64);
        // A session gives a plan back long after it was made.
        drop(replay);
    }
    Ok(measured)
}

/// Makes a buffer larger where it is too small, with room so that this is seldom.
fn room(gpu: &Gpu, buffer: &mut Option<Buffer>, need: u64) -> Result<(), AnyError> {
    if buffer.as_ref().is_none_or(|b| b.bytes() < need) {
        *buffer = Some(gpu.buffer(2 * need.max(256), BufferUse::Storage)?);
    }
    Ok(())
}

/// Product, bias, activation, residual and again, with a symbolic batch.
fn chain(nodes: usize) -> Result<Graph, AnyError> {
    let op = |name| Op::from_name(name, &Attrs::new(name));
    let mut g = Graph::new();
    let shape = vec![Dim::from(Symbol::new("batch")), 16usize.into()];
    let mut x = g.input("x", Some(Fact::new(DType::F32, shape)))?;
    let mut block = 0;
    while g.len() < nodes {
        let w = g.constant(samples::uniform(&[16, 16], block));
        let b = g.constant(samples::uniform(&[16], block + 1));
        let y = g.add1(op("MatMul")?, &[x, w])?;
        let y = g.add1(op("Add")?, &[y, b])?;
        let y = g.add1(op("Relu")?, &[y])?;
        x = g.add1(op("Add")?, &[x, y])?;
        block += 1;
    }
    g.output("y", x);
    Ok(g)
}

fn warm(samples: &[f64]) -> &[f64] {
    samples.get(WARM_UP..).unwrap_or_default()
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = warm(samples).to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(gpu: &Gpu, all: &[Measured]) -> Value {
    let graphs = all.iter().map(|m| {
        json!({
            "name": m.name.rsplit('/').find(|part| !part.ends_with(".onnx")).unwrap_or(&m.name),
            "nodes": m.nodes,
            "dispatches": m.dispatches,
            "plan_median_us_a_node": median(&m.plan),
            "device_median_us_a_node": median(&m.device),
            "plan_us_a_node": warm(&m.plan),
            "device_us_a_node": warm(&m.device),
        })
    });
    json!({
        "format": "tilewright-bench-binding",
        "version": 1,
        "machine": machine(gpu),
        "graphs": graphs.collect::<Vec<_>>(),
    })
}

impl Args {
    fn parse() -> Result<Self, AnyError> {
        let mut parsed = Self {
            models: vec![],
            nodes: 1000,
            json: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--model" => parsed.models.push(value),
                "--nodes" => parsed.nodes = value.parse()?,
                "--json" => parsed.json = Some(value),
                _ => return Err(format!("unknown option {flag}").into()),
            }
        }
        Ok(parsed)
    }
}
