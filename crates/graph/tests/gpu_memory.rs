//! What models and sessions hold: right after sessions come and go, flat over many sizes and sessions, within a limit, and
//! back on a new device after a loss.

mod common;

use common::{add, any_gpu as gpu, op};
use std::sync::Arc;
use tilewright_device::{BufferUse, Gpu};
use tilewright_graph::lower::Derived;
use tilewright_graph::ops::{BatchNormalization, Conv, If, Loop, Resize};
use tilewright_graph::{
    Attrs, Dim, Error, Fact, Graph, Model, ModelOptions, RunLimits, Session, Value, Weight, host,
    samples,
};
use tilewright_tensor::{DType, HostTensor, nmse};

/// Two convolutions of equal shape with batch normalisation after each: passes make both weights anew.
fn normalised() -> Graph {
    layers(true)
}

/// [`normalised`]; where the rank of its input is not declared, every session compiles it for itself.
fn layers(declared: bool) -> Graph {
    let mut graph = Graph::new();
    let shape = vec![
        Dim::symbol("n"),
        8usize.into(),
        8usize.into(),
        8usize.into(),
    ];
    let fact = declared.then(|| Fact::new(DType::F32, shape));
    let mut y = graph.input("x", fact).unwrap();
    for layer in 0..2 {
        let seed = 10 * layer;
        let w = graph.constant(samples::uniform(&[8, 8, 3, 3], seed + 1));
        let op = Conv {
            group: 1,
            ..Conv::default()
        };
        y = graph.add1(op, &[y, w]).unwrap();
        let mut inputs = vec![y];
        for (i, low) in [0.5, -1.0, -1.0, 0.5].into_iter().enumerate() {
            let part = samples::between(&[8], seed + 2 + i as u64, low, 1.5);
            inputs.push(graph.constant(part));
        }
        let op = BatchNormalization {
            epsilon: 1e-3,
            momentum: 0.9,
            training: false,
        };
        y = graph.add(op, &inputs).unwrap()[0];
    }
    graph.output("y", y);
    graph
}

fn image(batch: usize) -> HostTensor {
    samples::uniform(&[batch, 8, 8, 8], 99)
}

fn run(session: &mut Session, x: &HostTensor) -> Result<HostTensor, Error> {
    let outputs = pollster::block_on(session.run(&[("x", x.clone())]))?;
    Ok(outputs[0].1.clone())
}

fn check(session: &mut Session, batch: usize) {
    let x = image(batch);
    let want = host::run(&normalised(), std::slice::from_ref(&x)).unwrap();
    let error = nmse(&run(session, &x).unwrap(), &want[0]).unwrap();
    assert!(error < 1e-10, "nmse {error:e}");
}

#[test]
fn what_is_derived_belongs_to_its_sources_though_others_take_their_place() {
    let derived = Derived::default();
    for i in 0..100 {
        let source = HostTensor::from_vec([4], vec![i as f32; 4]).unwrap();
        let other = HostTensor::from_vec([4], vec![0.5 * i as f32; 4]).unwrap();
        let sources = [source, other].map(Weight::from);
        for _ in 0..2 {
            let sum = |s: &[HostTensor]| {
                let values = s[0].to_f64().into_iter().zip(s[1].to_f64());
                let values = values.map(|(a, b)| a + b).collect();
                Ok(HostTensor::from_f64(DType::F32, [4], values)?)
            };
            let made = derived.get(&sources, "sum".into(), sum).unwrap();
            assert_eq!(
                made.load().unwrap().to_vec::<f32>().unwrap(),
                [1.5 * i as f32; 4]
            );
        }
    }
}

#[test]
fn sessions_that_come_and_go_leave_right_weights_and_nothing_else() {
    let Some(gpu) = gpu() else { return };
    for declared in [true, false] {
        let model = Model::new(layers(declared), &gpu, ModelOptions::default());
        check(&mut Session::new(&model).unwrap(), 2);
        let (device, held) = (gpu.memory_stats(), model.memory_stats());
        assert_eq!(held.weights > 0, declared, "{held:?}");
        assert!(held.host_weights > 0);
        assert_eq!((held.arenas, held.states), (0, 0));
        for _ in 0..50 {
            check(&mut Session::new(&model).unwrap(), 2);
            let now = gpu.memory_stats();
            assert_eq!((now.bytes, now.buffers), (device.bytes, device.buffers));
            assert_eq!(model.memory_stats(), held);
        }
    }
}

#[test]
fn tables_of_sizes_go_with_their_plans() {
    let Some(gpu) = gpu() else { return };
    let mut graph = Graph::new();
    let shape = vec![
        1usize.into(),
        1usize.into(),
        Dim::symbol("h"),
        4usize.into(),
    ];
    let x = graph
        .input("x", Some(Fact::new(DType::F32, shape)))
        .unwrap();
    let scales = HostTensor::from_vec([4], vec![1f32, 1.0, 2.0, 2.0]).unwrap();
    let scales = graph.constant(scales);
    let op = Resize::default();
    let inputs = [Some(x), None, Some(scales)];
    let y = graph.add_node(op.into(), &inputs, "resize", 1).unwrap()[0];
    graph.output("y", y);
    let model = Model::new(graph, &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let mut most = (0, 0);
    // The largest first: the arena stays as it is.
    for (i, h) in (1..=100).rev().enumerate() {
        let x = samples::uniform(&[1, 1, h, 4], h as u64);
        let want = host::run(model.graph(), std::slice::from_ref(&x)).unwrap();
        let got = run(&mut session, &x).unwrap();
        assert_eq!(got.shape(), want[0].shape());
        assert!(nmse(&got, &want[0]).unwrap() < 1e-10, "{h} rows");
        let now = gpu.memory_stats();
        if i < 10 {
            most = (now.bytes.max(most.0), now.buffers.max(most.1));
        }
        assert!(
            now.bytes <= most.0 && now.buffers <= most.1,
            "{now:?} over {most:?} at size {i}"
        );
    }
    let held = session.memory_stats();
    assert!(held.weights > 0 && held.arenas >= held.lower_bound && held.lower_bound > 0);
    drop(session);
    assert_eq!(model.memory_stats().weights, 0);
}

fn limited(gpu: &Gpu, limit: u64) -> Model {
    let mut options = ModelOptions::default();
    options.memory_limit = Some(limit);
    Model::new(normalised(), gpu, options)
}

fn says(result: Result<HostTensor, Error>, what: &str) {
    match result {
        Err(Error::Limit { what: said, .. }) => assert!(said.starts_with(what), "{said}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_passes_the_limit_is_refused_and_the_rest_goes_on() {
    let Some(gpu) = gpu() else { return };
    let free = Model::new(normalised(), &gpu, ModelOptions::default());
    let mut session = Session::new(&free).unwrap();
    check(&mut session, 2);
    let need = session.memory_stats();
    drop(session);

    let model = limited(&gpu, need.device());
    let (mut first, mut second) = (Session::new(&model).unwrap(), Session::new(&model).unwrap());
    for _ in 0..2 {
        says(run(&mut first, &image(64)), "an arena");
        check(&mut first, 2);
        assert_eq!(model.memory_stats().device(), need.device());
        says(run(&mut second, &image(2)), "an arena");
    }
    drop(first);
    check(&mut second, 2);

    let model = limited(&gpu, need.weights - 1);
    let mut session = Session::new(&model).unwrap();
    for _ in 0..2 {
        says(run(&mut session, &image(2)), "a weight");
    }
    assert_eq!(model.memory_stats().arenas, 0);
}

#[test]
fn states_count_and_go_with_their_session() {
    let Some(gpu) = gpu() else { return };
    let mut graph = Graph::new();
    let state = graph.state("s", samples::uniform(&[100], 1)).unwrap();
    graph.output("y", state);
    let mut options = ModelOptions::default();
    options.memory_limit = Some(700);
    let model = Model::new(graph, &gpu, options);
    let session = Session::new(&model).unwrap();
    assert_eq!(session.memory_stats().states, 400);
    let refused = Session::new(&model).map(drop);
    assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
    drop(session);
    assert_eq!(model.memory_stats().states, 0);
    Session::new(&model).unwrap();
}

#[test]
fn a_model_returns_on_a_new_device_after_a_loss() {
    let Some(first) = gpu() else { return };
    let model = Model::new(normalised(), &first, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let before = run(&mut session, &image(3)).unwrap();
    first.device().destroy();
    for _ in 0..2 {
        let error = run(&mut session, &image(3)).unwrap_err();
        let lost = matches!(
            &error,
            Error::Device(tilewright_device::Error::DeviceLost { .. })
        );
        assert!(lost, "{error}");
    }
    let Some(second) = gpu() else { return };
    let restored = model.on(&second);
    let mut session = Session::new(&restored).unwrap();
    assert_eq!(run(&mut session, &image(3)).unwrap(), before);
}

#[test]
fn states_return_by_their_values() {
    let Some(first) = gpu() else { return };
    let mut graph = Graph::new();
    let count = graph.state("count", HostTensor::scalar(0i32)).unwrap();
    let one = graph.constant(HostTensor::scalar(1i32));
    let add = Attrs::new("Add");
    let add = tilewright_graph::Op::from_name("Add", &add).unwrap();
    let more = graph.add1(add, &[count, one]).unwrap();
    graph.set_next(count, more).unwrap();
    graph.output("y", more);
    let model = Model::new(graph, &first, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    pollster::block_on(session.run(&[])).unwrap();
    let kept = pollster::block_on(session.state("count")).unwrap();
    first.device().destroy();
    assert!(pollster::block_on(session.run(&[])).is_err());
    let Some(second) = gpu() else { return };
    let mut session = Session::new(&model.on(&second)).unwrap();
    session.set_state("count", &kept).unwrap();
    let outputs = pollster::block_on(session.run(&[])).unwrap();
    assert_eq!(outputs[0].1, HostTensor::scalar(2i32));
}

/// Runs a session of `graph` on each of these inputs; afterwards its device holds what the session says, and little else.
fn accounted<'a>(
    gpu: &Gpu,
    graph: Graph,
    runs: impl IntoIterator<Item = Vec<(&'a str, HostTensor)>>,
) {
    // So that the device has what it reads back through.
    let large = gpu.buffer(8 << 20, BufferUse::Storage).unwrap();
    pollster::block_on(gpu.read(&large, 0, 8 << 20)).unwrap();
    drop(large);
    let before = gpu.memory_stats().bytes;
    let model = Model::new(graph, gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    for inputs in runs {
        pollster::block_on(session.run(&inputs)).unwrap();
    }
    let held = session.memory_stats();
    let bytes = gpu.memory_stats().bytes - before;
    assert!(held.arenas >= 1 << 20, "{held:?}");
    assert!(
        bytes <= held.device() + 64 * 1024,
        "{bytes} bytes, {held:?}"
    );
}

fn longer(graph: &mut Graph, x: Value) -> Value {
    let twice = graph.add1(op("Add"), &[x, x]).unwrap();
    add(
        graph,
        "Concat",
        Attrs::new("Concat").with("axis", 0i64),
        &[x, twice],
    )
}

#[test]
fn arenas_that_bodies_outgrow_are_given_back() {
    let Some(gpu) = gpu() else { return };
    let mut body = Graph::new();
    body.input("i", Some(Fact::sized(DType::I64, &[]))).unwrap();
    let go = body
        .input("go", Some(Fact::sized(DType::Bool, &[])))
        .unwrap();
    let s = body.input("s", None).unwrap();
    let next = longer(&mut body, s);
    body.output("go", go);
    body.output("s", next);
    let body = Arc::new(body);
    let node = Loop { body, captures: 0 };
    let mut graph = Graph::new();
    let x = graph
        .input("x", Some(Fact::sized(DType::F32, &[500, 64])))
        .unwrap();
    let count = graph.constant(HostTensor::scalar(5i64));
    let y = graph
        .add_node(node.into(), &[Some(count), None, Some(x)], "", 1)
        .unwrap()[0];
    graph.output("y", y);
    accounted(&gpu, graph, [vec![("x", samples::uniform(&[500, 64], 1))]]);

    // Branches of one node.
    let branch = |large: bool| {
        let mut graph = Graph::new();
        let x = graph
            .input("x", Some(Fact::sized(DType::F32, &[2000, 64])))
            .unwrap();
        let mut y = graph.add1(op("Add"), &[x, x]).unwrap();
        if large {
            y = longer(&mut graph, y);
        }
        graph.output("y", y);
        Arc::new(graph)
    };
    let node = If {
        else_branch: branch(false),
        then_branch: branch(true),
    };
    let mut graph = Graph::new();
    let c = graph
        .input("c", Some(Fact::sized(DType::Bool, &[])))
        .unwrap();
    let x = graph
        .input("x", Some(Fact::sized(DType::F32, &[2000, 64])))
        .unwrap();
    let y = graph.add1(node, &[c, x, x]).unwrap();
    graph.output("y", y);
    let run = |c: bool| {
        vec![
            ("c", HostTensor::scalar(c)),
            ("x", samples::uniform(&[2000, 64], 1)),
        ]
    };
    accounted(&gpu, graph, [run(false), run(true)]);
}

#[test]
fn arenas_that_late_parts_outgrow_are_given_back() {
    let Some(gpu) = gpu() else { return };
    let mut graph = Graph::new();
    let x = graph
        .input("x", Some(Fact::sized(DType::F32, &[1, 4096])))
        .unwrap();
    let shape = graph
        .input("shape", Some(Fact::sized(DType::I64, &[2])))
        .unwrap();
    let x = graph.add1(op("Exp"), &[x]).unwrap();
    let wide = graph.add1(op("Expand"), &[x, shape]).unwrap();
    let y = longer(&mut graph, wide);
    graph.output("y", y);
    let run = |rows: i64| {
        let shape = HostTensor::from_vec([2], vec![rows, 4096]).unwrap();
        vec![("x", samples::uniform(&[1, 4096], 1)), ("shape", shape)]
    };
    accounted(&gpu, graph, [4, 16, 32, 64, 128].map(run));
}

/// Softmax after softmax in f64, which no device stores; the last `outputs` of them are outputs.
fn on_the_host(steps: usize, outputs: usize) -> Graph {
    let mut graph = Graph::new();
    let mut x = graph
        .input("x", Some(Fact::sized(DType::F64, &[1000])))
        .unwrap();
    for i in 0..steps {
        x = graph.add1(op("Softmax"), &[x]).unwrap();
        if i + outputs >= steps {
            graph.output(&format!("y{i}"), x);
        }
    }
    graph
}

#[test]
fn values_on_the_host_count_while_they_are_read() {
    let Some(gpu) = gpu() else { return };
    let mut options = ModelOptions::default();
    // Two and a half tensors.
    options.limits = RunLimits::none();
    options.limits.memory = 20_000;
    let x = samples::uniform(&[1000], 1).cast(DType::F64).unwrap();
    for on_device in [true, false] {
        let session = |graph: Graph| {
            let model = match on_device {
                true => Model::new(graph, &gpu, options),
                false => Model::host(graph, options),
            };
            Session::new(&model).unwrap()
        };
        run(&mut session(on_the_host(10, 1)), &x).unwrap();
        run(&mut session(on_the_host(10, 2)), &x).unwrap();
        let error = run(&mut session(on_the_host(10, 3)), &x).unwrap_err();
        assert!(
            error.to_string().contains("24000 bytes of activations"),
            "{error}"
        );
    }
}
