//! Symbolic sizes on the device: one session at many sizes, and sizes used as data.

mod common;

use common::{any_gpu as gpu, op};
use tilewright_device::Caps;
use tilewright_graph::bind::bind;
use tilewright_graph::lower::{Derived, Place};
use tilewright_graph::stage::Schedule;
use tilewright_graph::{
    Attrs, Bindings, Dim, Error, Fact, Graph, Model, ModelOptions, Op, Session, Symbol, host,
    samples,
};
use tilewright_tensor::{DType, nmse};

/// y = x W, z = number of rows of x plus each of y, shape = the shape of x.
fn graph() -> Graph {
    let mut g = Graph::new();
    let dims = vec![Dim::symbol("rows"), 7usize.into()];
    let x = g.input("x", Some(Fact::new(DType::F32, dims))).unwrap();
    let w = g.constant(samples::uniform(&[7, 5], 1));
    let y = g.add1(op("MatMul"), &[x, w]).unwrap();
    let shape = g.add1(op("Shape"), &[x]).unwrap();
    let zero = g.scalar(DType::I64, 0.0).unwrap();
    let rows = g.add1(op("Gather"), &[shape, zero]).unwrap();
    let to = Attrs::new("Cast").with("to", DType::F32);
    let rows = g
        .add1(Op::from_name("Cast", &to).unwrap(), &[rows])
        .unwrap();
    let z = g.add1(op("Add"), &[y, rows]).unwrap();
    g.output("z", z);
    g.output("shape", shape);
    g
}

#[test]
fn one_session_at_many_sizes() {
    let Some(gpu) = gpu() else { return };
    let g = graph();
    let mut session = Session::new(&Model::new(g.clone(), &gpu, ModelOptions::default())).unwrap();
    assert!(
        session.host_steps().is_empty(),
        "{:?}",
        session.host_steps()
    );
    let mut peak = 0;
    for (i, rows) in [40, 1, 2, 7, 1, 33, 16, 3, 25, 12, 40, 5, 1]
        .into_iter()
        .enumerate()
    {
        let x = samples::uniform(&[rows, 7], i as u64);
        let expected = host::run(&g, std::slice::from_ref(&x)).unwrap();
        let outputs = pollster::block_on(session.run(&[("x", x)])).unwrap();
        assert!(
            nmse(&outputs[0].1, &expected[0]).unwrap() < 1e-10,
            "{rows} rows"
        );
        assert_eq!(outputs[1].1, expected[1], "{rows} rows");
        let bytes = gpu.memory_stats().bytes;
        if i == 0 {
            peak = bytes;
        }
        // The largest size came first; parameters of the plans that are kept are all that may be added.
        assert!(
            bytes <= peak + 64 * 1024,
            "{bytes} bytes after {rows} rows, {peak} at first"
        );
    }
}

/// A plan that is kept holds no arena but the largest.
#[test]
fn arenas_that_were_outgrown_are_given_back() {
    let Some(gpu) = gpu() else { return };
    let bytes_after = |sizes: &[usize]| {
        let model = Model::new(graph(), &gpu, ModelOptions::default());
        let mut session = Session::new(&model).unwrap();
        for &rows in sizes {
            let x = samples::uniform(&[rows, 7], 0);
            pollster::block_on(session.run(&[("x", x)])).unwrap();
        }
        gpu.memory_stats().bytes
    };
    let once = bytes_after(&[80_000]);
    let grown = bytes_after(&[1, 20_000, 40_000, 80_000]);
    assert!(grown <= once + 64 * 1024, "{grown} bytes, {once} at once");
}

#[test]
fn a_wrong_size_is_named() {
    let Some(gpu) = gpu() else { return };
    let mut session = Session::new(&Model::new(graph(), &gpu, ModelOptions::default())).unwrap();
    let x = samples::uniform(&[4, 6], 0);
    let error = pollster::block_on(session.run(&[("x", x)]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`x`") && error.contains("[4, 6]"), "{error}");
    let error = pollster::block_on(session.run(&[]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`x`") && error.contains("missing"),
        "{error}"
    );
}

/// Over the 128 MiB of a binding, where a running sum along the rows has no blocks.
#[test]
fn tensors_over_the_binding_limit_are_named() {
    let caps = Caps::webgpu_default();
    let graph = |rows: Dim| {
        let mut g = Graph::new();
        let dims = vec![rows, 1024usize.into()];
        let x = g.input("x", Some(Fact::new(DType::F32, dims))).unwrap();
        let axis = g.scalar(DType::I64, 0.0).unwrap();
        let y = common::add(&mut g, "CumSum", Attrs::new("CumSum"), &[x, axis]);
        let z = common::add(&mut g, "Exp", Attrs::new("Exp"), &[y]);
        g.output("z", z);
        g
    };
    let planned = |graph: &Graph, rows: i64| {
        let schedule = Schedule::new(graph, Some(&caps)).unwrap();
        let mut bindings = Bindings::default();
        bindings.set(Symbol::new("rows"), rows);
        let plan = bind(graph, &schedule, &bindings, &caps, &Derived::default());
        (plan, schedule)
    };
    let symbolic = graph(Dim::symbol("rows"));
    planned(&symbolic, 8 << 10).0.unwrap();
    let error = planned(&symbolic, 1 << 16).0.unwrap_err();
    let Error::Node { node, source, .. } = &error else {
        panic!("{error}")
    };
    let Error::Limit { what, limit } = &**source else {
        panic!("{error}")
    };
    assert_eq!(node, "CumSum");
    let bytes = 4096 << 16;
    assert!(
        what.starts_with("input `x`") && what.contains(&format!(" {bytes} bytes")),
        "{what}"
    );
    assert_eq!(*limit, caps.limits.binding_bytes);
    let (plan, schedule) = planned(&graph((1usize << 16).into()), 0);
    plan.unwrap();
    let on_host =
        |p: &&Option<Place>| matches!(p, Some(Place::Host(why)) if why.contains("binding limit"));
    assert_eq!(schedule.places.iter().filter(on_host).count(), 1);
}
