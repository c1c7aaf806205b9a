//! Control flow on a device: bodies run there too, and leave alone what the graph around them keeps there.

mod common;

use common::{any_gpu as gpu, op};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tilewright_graph::fact::{Facts, Tensors};
use tilewright_graph::ops::{Identity, If, Loop, Scan};
use tilewright_graph::{
    Attrs, CustomOp, Error, Fact, Graph, Model, ModelOptions, Op, Session, Value, host, samples,
};
use tilewright_tensor::{DType, HostTensor, nmse};

fn fact(shape: &[usize]) -> Option<Fact> {
    Some(Fact::sized(DType::F32, shape))
}

/// Runs `graph` on the device, twice, and on the host; the session.
fn agree(graph: &Graph, inputs: &[(&str, HostTensor)]) -> Option<Session> {
    let gpu = gpu()?;
    let tensors: Vec<HostTensor> = inputs.iter().map(|(_, t)| t.clone()).collect();
    let want = host::run(graph, &tensors).unwrap();
    let model = Model::new(graph.clone(), &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    for _ in 0..2 {
        let got = pollster::block_on(session.run(inputs)).unwrap();
        for ((name, got), want) in got.iter().zip(&want) {
            assert_eq!(got.shape(), want.shape(), "{name}");
            if want.dtype().is_float() {
                let error = nmse(got, want).unwrap();
                assert!(error < 1e-10, "{name}: {error}\n{got}\n{want}");
            } else {
                assert_eq!(got, want, "{name}");
            }
        }
    }
    Some(session)
}

/// s' = tanh(s * w + outer), with s' as a scan output too.
fn step() -> Arc<Graph> {
    let mut body = Graph::new();
    body.input("i", Some(Fact::sized(DType::I64, &[]))).unwrap();
    let go = body
        .input("go", Some(Fact::sized(DType::Bool, &[])))
        .unwrap();
    let s = body.input("s", fact(&[8, 16])).unwrap();
    let outer = body.input("outer", fact(&[8, 16])).unwrap();
    let w = body.constant(samples::uniform(&[16, 16], 7));
    let product = body.add1(op("MatMul"), &[s, w]).unwrap();
    let sum = body.add1(op("Add"), &[product, outer]).unwrap();
    let next = body.add1(op("Tanh"), &[sum]).unwrap();
    body.output("go", go);
    body.output("s", next);
    body.output("all", next);
    Arc::new(body)
}

/// x, 2 x (which the loop captures), the loop, and then a sum with 2 x.
fn looping(count: i64) -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", fact(&[8, 16])).unwrap();
    let twice = graph.add1(op("Add"), &[x, x]).unwrap();
    // Kept on the device across the loop, which does not take it.
    let kept = graph.add1(op("Exp"), &[twice]).unwrap();
    let count = graph.constant(HostTensor::scalar(count));
    let node = Loop {
        body: step(),
        captures: 1,
    };
    let inputs = [Some(count), None, Some(x), Some(twice)];
    let out = graph.add_node(node.into(), &inputs, "loop", 2).unwrap();
    let last = graph.add1(op("Add"), &[out[0], kept]).unwrap();
    graph.output("last", last);
    graph.output("all", out[1]);
    graph
}

#[test]
fn a_loop_leaves_the_outer_arena_alone() {
    let x = samples::uniform(&[8, 16], 1);
    if let Some(session) = agree(&looping(5), &[("x", x)]) {
        let steps = session.host_steps();
        assert!(
            steps
                .iter()
                .any(|s| s.op == "Loop" && s.reason == "control flow")
        );
        assert!(steps.iter().all(|s| s.op == "Loop"), "{steps:?}");
    }
}

#[test]
fn a_loop_without_end_is_an_error() {
    let Some(gpu) = gpu() else { return };
    let model = Model::new(looping(1 << 40), &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let inputs = [("x", samples::uniform(&[8, 16], 1))];
    let error = pollster::block_on(session.run(&inputs)).unwrap_err();
    let Error::Node { node, source, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(node, "loop");
    assert!(matches!(*source, Error::Limit { .. }), "{source}");
}

#[test]
fn a_growing_state_is_planned_anew() {
    let mut body = Graph::new();
    body.input("i", Some(Fact::sized(DType::I64, &[]))).unwrap();
    let go = body
        .input("go", Some(Fact::sized(DType::Bool, &[])))
        .unwrap();
    let s = body.input("s", None).unwrap();
    let twice = body.add1(op("Add"), &[s, s]).unwrap();
    let concat = Op::from_name("Concat", &Attrs::new("Concat").with("axis", 0i64)).unwrap();
    let longer = body.add1(concat, &[s, twice]).unwrap();
    body.output("go", go);
    body.output("s", longer);
    let node = Loop {
        body: Arc::new(body),
        captures: 0,
    };
    let mut graph = Graph::new();
    let x = graph.input("x", fact(&[1, 3])).unwrap();
    let count = graph
        .input("count", Some(Fact::sized(DType::I64, &[])))
        .unwrap();
    let out = graph
        .add_node(node.into(), &[Some(count), None, Some(x)], "", 1)
        .unwrap();
    let y = graph.add1(op("Neg"), &[out[0]]).unwrap();
    graph.output("y", y);
    let x = || samples::uniform(&[1, 3], 1);
    agree(&graph, &[("x", x()), ("count", HostTensor::scalar(4i64))]);
    agree(&graph, &[("x", x()), ("count", HostTensor::scalar(0i64))]);
}

/// A branch that multiplies its captured input with itself, or adds it.
fn branch(name: &str) -> Arc<Graph> {
    let mut graph = Graph::new();
    let x = graph.input("x", fact(&[8, 16])).unwrap();
    let y = graph.add1(op(name), &[x, x]).unwrap();
    graph.output("y", y);
    Arc::new(graph)
}

#[test]
fn conditions_choose_at_run_time() {
    let mut graph = Graph::new();
    let condition = graph
        .input("c", Some(Fact::sized(DType::Bool, &[])))
        .unwrap();
    let x = graph.input("x", fact(&[8, 16])).unwrap();
    let kept = graph.add1(op("Exp"), &[x]).unwrap();
    let node = If {
        else_branch: branch("Add"),
        then_branch: branch("Mul"),
    };
    let chosen = graph.add1(node, &[condition, kept, x]).unwrap();
    let y = graph.add1(op("Sub"), &[kept, chosen]).unwrap();
    graph.output("y", y);
    for condition in [false, true] {
        let x = samples::uniform(&[8, 16], 1);
        agree(&graph, &[("c", HostTensor::scalar(condition)), ("x", x)]);
    }
}

#[test]
fn scans_nest() {
    // The inner scan sums rows; the outer one runs it for each of its slices.
    let mut add = Graph::new();
    let s = add.input("s", fact(&[5])).unwrap();
    let x = add.input("x", fact(&[5])).unwrap();
    let sum = add.add1(op("Add"), &[s, x]).unwrap();
    add.output("s", sum);
    add.output("y", sum);
    let scan = |body: Graph| Scan {
        body: Arc::new(body),
        scan_inputs: 1,
        input_axes: vec![],
        input_directions: vec![],
        output_axes: vec![],
        output_directions: vec![],
        captures: 0,
    };
    let mut outer = Graph::new();
    let s = outer.input("s", fact(&[5])).unwrap();
    let x = outer.input("x", fact(&[4, 5])).unwrap();
    let inner: Vec<Value> = outer.add(scan(add), &[s, x]).unwrap();
    let state = outer.add1(Identity, &[inner[0]]).unwrap();
    outer.output("s", state);
    outer.output("y", inner[1]);
    let mut graph = Graph::new();
    let s = graph.input("s", fact(&[5])).unwrap();
    let x = graph.input("x", fact(&[3, 4, 5])).unwrap();
    let out = graph.add(scan(outer), &[s, x]).unwrap();
    graph.output("s", out[0]);
    graph.output("y", out[1]);
    assert_eq!(
        graph.fact(out[1]).unwrap().known_shape().unwrap(),
        [3, 4, 5]
    );
    let inputs = [
        ("s", samples::uniform(&[5], 1)),
        ("x", samples::uniform(&[3, 4, 5], 2)),
    ];
    agree(&graph, &inputs);
}

/// A node on the host that counts how often its shape is inferred.
#[derive(Clone, Debug, Default)]
struct Inferred(Arc<AtomicUsize>);

impl CustomOp for Inferred {
    fn name(&self) -> &'static str {
        "test:Inferred"
    }
    fn attrs(&self) -> Attrs {
        Attrs::new("Inferred")
    }
    fn infer(&self, inputs: Facts<'_>) -> tilewright_graph::Result<Vec<Fact>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let x = inputs.req(0)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }
    fn reference(&self, inputs: Tensors<'_>) -> tilewright_graph::Result<Vec<HostTensor>> {
        Ok(vec![inputs.req(0)?.clone()])
    }
}

/// s' = s + tanh(rows i to i + 1 of x), where i is the number of the turn, or counts the turns in a carried value.
fn rows_of(x: &[usize], counted: bool, node: Option<Inferred>) -> Graph {
    let mut body = Graph::new();
    let one = |g: &mut Graph, v: i64| g.constant(HostTensor::from_vec([1], vec![v]).unwrap());
    let turn = body
        .input("turn", Some(Fact::sized(DType::I64, &[])))
        .unwrap();
    let go = body
        .input("go", Some(Fact::sized(DType::Bool, &[])))
        .unwrap();
    let s = body.input("s", fact(&[1, x[1]])).unwrap();
    let n = body.input("n", Some(Fact::sized(DType::I64, &[]))).unwrap();
    let table = body.input("table", fact(x)).unwrap();
    let i = if counted { n } else { turn };
    let to = one(&mut body, 1);
    let start = body.add1(op("Reshape"), &[i, to]).unwrap();
    let step = one(&mut body, 1);
    let end = body.add1(op("Add"), &[start, step]).unwrap();
    let axis = one(&mut body, 0);
    let row = body.add1(op("Slice"), &[table, start, end, axis]).unwrap();
    let mut row = body.add1(op("Tanh"), &[row]).unwrap();
    if let Some(node) = node {
        let node: Arc<dyn CustomOp> = Arc::new(node);
        row = body.add1(node, &[row]).unwrap();
    }
    let sum = body.add1(op("Add"), &[s, row]).unwrap();
    let single = body.constant(HostTensor::scalar(1i64));
    let next = body.add1(op("Add"), &[n, single]).unwrap();
    for (name, v) in [("go", go), ("s", sum), ("n", next)] {
        body.output(name, v);
    }
    let mut graph = Graph::new();
    let count = graph
        .input("count", Some(Fact::sized(DType::I64, &[])))
        .unwrap();
    let s = graph.input("s", fact(&[1, x[1]])).unwrap();
    let table = graph.input("x", fact(x)).unwrap();
    let n = graph.constant(HostTensor::scalar(0i64));
    let body = Arc::new(body);
    let node = Loop { body, captures: 1 };
    let inputs = [Some(count), None, Some(s), Some(n), Some(table)];
    let out = graph.add_node(node.into(), &inputs, "loop", 2).unwrap();
    graph.output("sum", out[0]);
    graph
}

fn rows_in(x: &[usize], count: usize) -> [(&'static str, HostTensor); 3] {
    [
        ("count", HostTensor::scalar(count as i64)),
        ("s", samples::uniform(&[1, x[1]], 1)),
        ("x", samples::uniform(x, 2)),
    ]
}

#[test]
fn a_body_that_slices_by_the_turn_is_compiled_once() {
    let x = [32, 64];
    for counted in [false, true] {
        for count in [0, 1, 20] {
            agree(&rows_of(&x, counted, None), &rows_in(&x, count));
        }
    }
    let Some(gpu) = gpu() else { return };
    let inferred = Inferred::default();
    let graph = rows_of(&x, false, Some(inferred.clone()));
    let model = Model::new(graph, &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let mut times = |count: usize| {
        let before = inferred.0.load(Ordering::Relaxed);
        pollster::block_on(session.run(&rows_in(&x, count))).unwrap();
        inferred.0.load(Ordering::Relaxed) - before
    };
    times(2);
    // Once a turn, before its reference runs.
    assert_eq!((times(4), times(30)), (4, 30));
}

/// s' = s + sum(x[..i] - x[i..i + 1]): in turn 0 nothing is broadcast against one element, later one against i.
#[test]
fn sizes_that_follow_the_turn_may_be_empty() {
    let mut body = Graph::new();
    let one = |g: &mut Graph, v: i64| g.constant(HostTensor::from_vec([1], vec![v]).unwrap());
    let scalar = |dtype| Some(Fact::sized(dtype, &[]));
    let turn = body.input("turn", scalar(DType::I64)).unwrap();
    let go = body.input("go", scalar(DType::Bool)).unwrap();
    let s = body.input("s", fact(&[])).unwrap();
    let x = body.input("x", fact(&[6])).unwrap();
    let (zero, step) = (one(&mut body, 0), one(&mut body, 1));
    let at = body.add1(op("Reshape"), &[turn, step]).unwrap();
    let end = body.add1(op("Add"), &[at, step]).unwrap();
    let before = body.add1(op("Slice"), &[x, zero, at, zero]).unwrap();
    let here = body.add1(op("Slice"), &[x, at, end, zero]).unwrap();
    let apart = body.add1(op("Sub"), &[before, here]).unwrap();
    let sum = Op::from_name(
        "ReduceSum",
        &Attrs::new("ReduceSum").with("keepdims", false),
    )
    .unwrap();
    let sum = body.add1(sum, &[apart]).unwrap();
    let next = body.add1(op("Add"), &[s, sum]).unwrap();
    body.output("go", go);
    body.output("s", next);
    let mut graph = Graph::new();
    let count = graph.input("count", scalar(DType::I64)).unwrap();
    let s = graph.input("s", fact(&[])).unwrap();
    let x = graph.input("x", fact(&[6])).unwrap();
    let body = Arc::new(body);
    let node = Loop { body, captures: 1 };
    let inputs = [Some(count), None, Some(s), Some(x)];
    let out = graph.add_node(node.into(), &inputs, "loop", 1).unwrap();
    graph.output("sum", out[0]);
    for count in [1i64, 5] {
        let inputs = [
            ("count", HostTensor::scalar(count)),
            ("s", HostTensor::scalar(0.5f32)),
            ("x", samples::uniform(&[6], 3)),
        ];
        agree(&graph, &inputs);
    }
}
