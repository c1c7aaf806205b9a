//! What the host spends on a model: reading, passes, schedule and binding. No adapter is needed.
//!
//! `cargo bench -p tilewright-benches --bench host`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tilewright::graph::lower::Derived;
use tilewright::graph::stage::Schedule;
use tilewright::graph::{Attrs, Bindings, Dim, Fact, Op, Symbol, bind, passes, samples};
use tilewright::onnx::{NoExternalData, read_model};
use tilewright::{Caps, DType, Graph};

/// Blocks of a product, a bias, an activation and a residual connection over a symbolic batch.
fn blocks(nodes: usize) -> Graph {
    let op = |name: &str| Op::from_name(name, &Attrs::new(name)).unwrap();
    let mut g = Graph::new();
    let shape = [Dim::symbol("batch"), Dim::from(64usize)];
    let mut x = g.input("x", Some(Fact::new(DType::F32, shape))).unwrap();
    for block in 0.. {
        if g.len() >= nodes {
            break;
        }
        let w = g.constant(samples::uniform(&[64, 64], block));
        let b = g.constant(samples::uniform(&[64], block + 1));
        let y = g.add1(op("MatMul"), &[x, w]).unwrap();
        let y = g.add1(op("Add"), &[y, b]).unwrap();
        let y = g.add1(op("Relu"), &[y]).unwrap();
        x = g.add1(op("Add"), &[x, y]).unwrap();
    }
    g.output("y", x);
    g
}

fn reading(c: &mut Criterion) {
    let file = include_bytes!("../../examples/digits/digits.onnx");
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Bytes(file.len() as u64));
    group.bench_function("digits", |b| {
        b.iter(|| read_model(&black_box(file)[..], &NoExternalData))
    });
}

fn passing(c: &mut Criterion) {
    let caps = Caps::webgpu_default();
    let mut group = c.benchmark_group("passes");
    for nodes in [100, 1_000] {
        let graph = blocks(nodes);
        group.throughput(Throughput::Elements(graph.len() as u64));
        group.bench_function(nodes.to_string(), |b| {
            b.iter(|| passes::device(&graph, &caps))
        });
    }
}

fn binding(c: &mut Criterion) {
    let caps = Caps::webgpu_default();
    let mut group = c.benchmark_group("bind");
    for nodes in [100, 1_000] {
        let graph = passes::device(&blocks(nodes), &caps).unwrap();
        let schedule = Schedule::new(&graph, Some(&caps)).unwrap();
        let mut bindings = Bindings::default();
        bindings.set(Symbol::new("batch"), 7);
        // Weights are packed once for all sizes; what is measured is a further size.
        let derived = Derived::default();
        bind::bind(&graph, &schedule, &bindings, &caps, &derived).unwrap();
        group.throughput(Throughput::Elements(graph.len() as u64));
        group.bench_function(nodes.to_string(), |b| {
            b.iter(|| bind::bind(&graph, &schedule, &bindings, &caps, &derived))
        });
    }
}

criterion_group!(benches, reading, passing, binding);
criterion_main!(benches);
