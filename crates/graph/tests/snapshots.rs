//! What plans and shaders look like, as text: a change of the planner or the assembler shows in review.

mod common;

use common::add as add_with;
use tilewright_device::{AdapterKind, Caps, assemble};
use tilewright_graph::lower::Derived;
use tilewright_graph::plan::Plan;
use tilewright_graph::stage::Schedule;
use tilewright_graph::{Attrs, Bindings, Dim, Fact, Graph, Symbol, Value, bind, passes, samples};
use tilewright_tensor::DType;

fn add(graph: &mut Graph, name: &str, inputs: &[Value]) -> Value {
    add_with(graph, name, Attrs::new(name), inputs)
}

fn weights(graph: &mut Graph, shape: &[usize], seed: u64) -> Value {
    graph.constant(samples::uniform(shape, seed))
}

/// A convolution with a residual connection, pooling and a classifier, for any batch.
fn network() -> Graph {
    let g = &mut Graph::new();
    let shape = [
        Dim::symbol("batch"),
        Dim::from(8usize),
        Dim::from(12usize),
        Dim::from(12usize),
    ];
    let x = g
        .input("image", Some(Fact::new(DType::F32, shape)))
        .unwrap();
    let (w, b) = (weights(g, &[8, 8, 3, 3], 1), weights(g, &[8], 2));
    let conv = Attrs::new("Conv").with("pads", vec![1i64; 4]);
    let y = add_with(g, "Conv", conv, &[x, w, b]);
    let y = add(g, "Add", &[y, x]);
    let y = add(g, "Relu", &[y]);
    let y = add(g, "GlobalAveragePool", &[y]);
    let y = add(g, "Flatten", &[y]);
    let (w, b) = (weights(g, &[8, 10], 3), weights(g, &[10], 4));
    let y = add(g, "Gemm", &[y, w, b]);
    let y = add(g, "Softmax", &[y]);
    g.output("probability", y);
    g.clone()
}

fn software() -> Caps {
    let mut caps = Caps::webgpu_default();
    caps.kind = AdapterKind::Software;
    caps.loop_rounds = Caps::loop_rounds_of(caps.kind);
    caps.subgroups = Some((8, 8));
    caps
}

fn plan(caps: &Caps, batch: i64) -> Plan {
    let graph = passes::device(&network(), caps).unwrap();
    let schedule = Schedule::new(&graph, Some(caps)).unwrap();
    let mut bindings = Bindings::default();
    bindings.set(Symbol::new("batch"), batch);
    bind::bind(&graph, &schedule, &bindings, caps, &Derived::default()).unwrap()
}

#[test]
fn graph_before_and_after_passes() {
    let graph = network();
    insta::assert_snapshot!("graph", graph.to_string());
    let after = passes::device(&graph, &software()).unwrap();
    insta::assert_snapshot!("graph_for_devices", after.to_string());
}

#[test]
fn plans() {
    insta::assert_snapshot!("plan_software", plan(&software(), 2).to_string());
    let caps = Caps::webgpu_default();
    insta::assert_snapshot!("plan_default_limits", plan(&caps, 2).to_string());
}

#[test]
fn shaders() {
    let text = |caps: &Caps, name: &str| {
        let plan = plan(caps, 2);
        let found = plan.dispatches().find(|d| d.variant.shader == name);
        let variant = &found.unwrap_or_else(|| panic!("no {name}")).variant;
        assemble(variant).unwrap().text(0).into_owned()
    };
    insta::assert_snapshot!("softmax", text(&software(), "softmax"));
    insta::assert_snapshot!(
        "conv_on_default_limits",
        text(&Caps::webgpu_default(), "gemm_tile")
    );
}
