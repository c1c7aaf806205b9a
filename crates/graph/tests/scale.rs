//! What graphs cost as they grow: passes, schedule and binding of ten thousand nodes, and the memory of plans.
//!
//! Times are the best of several.

mod common;

use common::op;
use std::time::{Duration, Instant};
use tilewright_device::Caps;
use tilewright_graph::bind::bind;
use tilewright_graph::lower::Derived;
use tilewright_graph::stage::Schedule;
use tilewright_graph::{Bindings, Dim, Fact, Graph, Symbol, Value, passes, samples};
use tilewright_tensor::DType;

/// Blocks of a transformer-like graph: product, bias, activation, residual, with a symbolic batch.
fn graph(nodes: usize) -> Graph {
    let mut g = Graph::new();
    let mut x: Value = g
        .input(
            "x",
            Some(Fact::new(
                DType::F32,
                vec![Dim::symbol("batch"), 16usize.into()],
            )),
        )
        .unwrap();
    let mut block = 0;
    while g.len() < nodes {
        let w = g.constant(samples::uniform(&[16, 16], block));
        let b = g.constant(samples::uniform(&[16], block + 1));
        let y = g.add1(op("MatMul"), &[x, w]).unwrap();
        let y = g.add1(op("Add"), &[y, b]).unwrap();
        let y = g.add1(op("Relu"), &[y]).unwrap();
        x = g.add1(op("Add"), &[x, y]).unwrap();
        block += 1;
    }
    g.output("y", x);
    g
}

fn best(mut f: impl FnMut()) -> Duration {
    let once = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed()
    };
    (0..5).map(|_| once(&mut f)).min().unwrap()
}

#[test]
fn ten_thousand_nodes() {
    let caps = Caps::webgpu_default();
    let small = graph(1_000);
    let large = graph(10_000);
    // Ten times the small graph against once the large one: equal work, equally disturbed by other processes.
    let of = |g: &Graph, times| {
        best(|| (0..times).for_each(|_| drop(passes::device(g, &caps).unwrap())))
    };
    let (a, b) = (of(&small, 10), of(&large, 1));
    println!(
        "passes: {b:?} for {} nodes, {a:?} for ten times {}",
        large.len(),
        small.len()
    );
    assert!(b < Duration::from_secs(1), "10,000 nodes took {b:?}");
    assert!(
        b < a * 5,
        "{b:?} for one graph, {a:?} for ten of a tenth: not linear"
    );

    let g = passes::device(&large, &caps).unwrap();
    let schedule = Schedule::new(&g, Some(&caps)).unwrap();
    let mut bindings = Bindings::default();
    bindings.set(Symbol::new("batch"), 3);
    let derived = Derived::default();
    let time = best(|| drop(bind(&g, &schedule, &bindings, &caps, &derived).unwrap()));
    let placed = schedule.places.iter().flatten().count();
    let each = time / placed as u32;
    println!("binding: {each:?} a node ({placed} nodes)");
    assert!(each < Duration::from_micros(20), "{each:?} a node");
}

#[test]
fn memory_of_a_chain_stays_flat() {
    let caps = Caps::webgpu_default();
    let g = passes::device(&graph(1_000), &caps).unwrap();
    let schedule = Schedule::new(&g, Some(&caps)).unwrap();
    let mut bindings = Bindings::default();
    bindings.set(Symbol::new("batch"), 64);
    let plan = bind(&g, &schedule, &bindings, &caps, &Derived::default()).unwrap();
    assert!(
        plan.arena as f64 <= 1.25 * plan.lower_bound as f64,
        "{} over {}",
        plan.arena,
        plan.lower_bound
    );
    // A residual, a product and its activation are 64 x 16 floats each.
    assert!(plan.lower_bound <= 4 * 64 * 16 * 4, "{}", plan.lower_bound);
}
