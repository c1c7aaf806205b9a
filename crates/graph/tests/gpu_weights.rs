//! Weights with a source: loaded when somebody needs them, once, and gone from the host when they are on the device.

mod common;

use common::{any_gpu as gpu, op};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;
use tilewright_graph::ops::{Conv, Loop, MatMul};
use tilewright_graph::{
    Attrs, Dim, Error, Fact, Graph, Model, ModelOptions, Op, Session, Weight, host, samples,
};
use tilewright_tensor::{DType, HostTensor, nmse};

const SIZE: usize = 256;
const BYTES: u64 = 4 * (SIZE * SIZE) as u64;

/// Scalars and shapes stay on the host.
const SMALL: u64 = 256;

/// A weight of 256 KiB by a callback, which can be made to fail, and counts.
#[derive(Clone, Default)]
struct Store {
    calls: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
}

impl Store {
    fn weight(&self, tensor: &HostTensor) -> Weight {
        let (store, kept) = (self.clone(), tensor.clone());
        let load = move || {
            store.calls.fetch_add(1, Ordering::Relaxed);
            if store.gone.load(Ordering::Relaxed) {
                let error = std::io::Error::from(std::io::ErrorKind::NotFound);
                return Err(Error::weight("w", "the store", error));
            }
            // A copy of its own, as from a file.
            Ok(HostTensor::from_bytes(
                kept.dtype(),
                kept.shape(),
                kept.bytes(),
            )?)
        };
        Weight::from_fn(tensor.dtype(), tensor.shape(), load).unwrap()
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

fn rows(rows: &str) -> Option<Fact> {
    let shape = vec![Dim::symbol(rows), SIZE.into()];
    Some(Fact::new(DType::F32, shape))
}

fn matrix() -> HostTensor {
    samples::uniform(&[SIZE, SIZE], 1)
}

/// x times a weight.
fn product(store: &Store) -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", rows("n")).unwrap();
    let w = graph.constant(store.weight(&matrix()));
    let y = graph.add1(MatMul, &[x, w]).unwrap();
    graph.output("y", y);
    graph
}

/// Runs for `n` rows and compares with the reference on constants in memory.
fn check(session: &mut Session, held: &Graph, n: usize) {
    let x = samples::uniform(&[n, SIZE], n as u64);
    let want = host::run(held, std::slice::from_ref(&x)).unwrap();
    let got = pollster::block_on(session.run(&[("x", x)])).unwrap();
    assert!(nmse(&got[0].1, &want[0]).unwrap() < 1e-10, "{n} rows");
}

fn product_held() -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", rows("n")).unwrap();
    let w = graph.constant(matrix());
    let y = graph.add1(MatMul, &[x, w]).unwrap();
    graph.output("y", y);
    graph
}

#[test]
fn a_weight_is_loaded_once_for_all_sizes_and_sessions_of_a_device() {
    let (Some(gpu), store, held) = (gpu(), Store::default(), product_held()) else {
        return;
    };
    let model = Model::new(product(&store), &gpu, ModelOptions::default());
    assert_eq!((store.calls(), model.memory_stats().host_weights), (0, 0));
    let mut first = Session::new(&model).unwrap();
    check(&mut first, &held, 3);
    let stats = model.memory_stats();
    assert_eq!((store.calls(), stats.host_weights), (1, 0));
    // Only the packed form is on the device.
    assert!(
        (BYTES..BYTES + BYTES / 8).contains(&stats.weights),
        "{stats:?}"
    );
    let mut second = Session::new(&model).unwrap();
    for n in [1, 64, 300] {
        check(&mut second, &held, n);
        check(&mut first, &held, n);
    }
    let stats = model.memory_stats();
    assert_eq!(stats.host_weights, 0);
    // Few and many rows may want two forms.
    assert!(store.calls() <= 2 && stats.weights < 3 * BYTES, "{stats:?}");
    let before = store.calls();
    drop((first, second));
    check(&mut Session::new(&model).unwrap(), &held, 64);
    assert_eq!(store.calls(), before);
}

#[test]
fn a_weight_is_loaded_again_for_a_new_device() {
    let (Some(first), store, held) = (gpu(), Store::default(), product_held()) else {
        return;
    };
    let model = Model::new(product(&store), &first, ModelOptions::default());
    check(&mut Session::new(&model).unwrap(), &held, 3);
    first.device().destroy();
    let Some(second) = gpu() else { return };
    let restored = model.on(&second);
    store.gone.store(true, Ordering::Relaxed);
    let mut session = Session::new(&restored).unwrap();
    let x = samples::uniform(&[3, SIZE], 3);
    for _ in 0..2 {
        let error = pollster::block_on(session.run(&[("x", x.clone())])).unwrap_err();
        let Error::Node { source, .. } = &error else {
            panic!("{error}");
        };
        let named = matches!(&**source, Error::Weight { name, place, .. } if name == "w" && place == "the store");
        assert!(named, "{error}");
    }
    // What was missing may return.
    store.gone.store(false, Ordering::Relaxed);
    check(&mut session, &held, 3);
    assert_eq!(store.calls(), 4);
    assert_eq!(restored.memory_stats().host_weights, 0);
}

#[test]
fn packed_forms_of_folded_constants_leave_the_host_too() {
    let Some(gpu) = gpu() else { return };
    let model = Model::new(product_held(), &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    check(&mut session, &product_held(), 3);
    assert_eq!(model.memory_stats().host_weights, BYTES);
}

#[test]
fn what_the_host_reads_is_loaded_once_a_session() {
    let (Some(gpu), store) = (gpu(), Store::default()) else {
        return;
    };
    let w = samples::uniform(&[1, 4096], 1).cast(DType::F64).unwrap();
    let mut graph = Graph::new();
    let fact = Fact::new(DType::F64, vec![Dim::symbol("n"), 4096usize.into()]);
    let x = graph.input("x", Some(fact)).unwrap();
    let c = graph.constant(store.weight(&w));
    let y = graph.add1(op("Add"), &[x, c]).unwrap();
    graph.output("y", y);
    for model in [
        Model::new(graph.clone(), &gpu, ModelOptions::default()),
        Model::host(graph, ModelOptions::default()),
    ] {
        let before = store.calls();
        let mut sessions = [(); 2].map(|()| Session::new(&model).unwrap());
        for session in &mut sessions {
            for n in [1, 2, 1] {
                let x = HostTensor::from_f64(DType::F64, [n, 4096], vec![1.0; n * 4096]).unwrap();
                let y = pollster::block_on(session.run(&[("x", x)])).unwrap();
                let (got, want) = (y[0].1.to_f64(), w.to_f64());
                assert!(
                    got.iter()
                        .enumerate()
                        .all(|(i, y)| *y == want[i % 4096] + 1.0)
                );
            }
        }
        assert_eq!(store.calls(), before + 1);
        assert_eq!(model.memory_stats().host_weights, 8 * 4096);
        drop(sessions);
        assert_eq!(model.memory_stats().host_weights, 0);
    }
}

/// A loop over x times the weight of an outer graph, of `trips` trips.
fn looped(weight: impl Into<Weight>, trips: i64) -> Graph {
    let mut body = Graph::new();
    body.input("i", Some(Fact::sized(DType::I64, &[]))).unwrap();
    let go = body
        .input("go", Some(Fact::sized(DType::Bool, &[])))
        .unwrap();
    let s = body
        .input("s", Some(Fact::sized(DType::F32, &[2, SIZE])))
        .unwrap();
    let w = body.constant(weight);
    let next = body.add1(MatMul, &[s, w]).unwrap();
    let next = body.add1(op("Tanh"), &[next]).unwrap();
    body.output("go", go);
    body.output("s", next);
    let mut graph = Graph::new();
    let x = graph
        .input("x", Some(Fact::sized(DType::F32, &[2, SIZE])))
        .unwrap();
    let (count, go) = (HostTensor::scalar(trips), HostTensor::scalar(true));
    let (count, go) = (graph.constant(count), graph.constant(go));
    let attrs = Attrs::new("Loop").with("body", Arc::new(body));
    let op = Op::from_name("Loop", &attrs).unwrap();
    assert!(matches!(op, Op::Loop(Loop { .. })));
    let y = graph
        .add_node(op, &[Some(count), Some(go), Some(x)], "loop", 1)
        .unwrap()[0];
    graph.output("y", y);
    graph
}

#[test]
fn bodies_load_once_and_leave_the_host_where_a_device_runs_them() {
    let (Some(gpu), store) = (gpu(), Store::default()) else {
        return;
    };
    let held = looped(matrix(), 5);
    let graph = looped(store.weight(&matrix()), 5);
    let model = Model::new(graph.clone(), &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    for _ in 0..2 {
        check(&mut session, &held, 2);
        assert_eq!(store.calls(), 1);
        assert!(model.memory_stats().host_weights < SMALL);
    }
    let model = Model::host(graph, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    for _ in 0..2 {
        check(&mut session, &held, 2);
        assert_eq!(store.calls(), 2);
        assert!(model.memory_stats().host_weights >= BYTES);
    }
}

#[test]
fn a_reshaped_weight_keeps_its_source() {
    let (Some(gpu), store) = (gpu(), Store::default()) else {
        return;
    };
    let mut graph = Graph::new();
    let shape = vec![
        Dim::symbol("n"),
        16usize.into(),
        4usize.into(),
        4usize.into(),
    ];
    let x = graph
        .input("x", Some(Fact::new(DType::F32, shape)))
        .unwrap();
    let w = graph.constant(store.weight(&samples::uniform(&[256, 256], 1)));
    let to = graph.ints(&[256, 16, 4, 4]).unwrap();
    let w = graph.add1(op("Reshape"), &[w, to]).unwrap();
    let conv = Conv {
        group: 1,
        ..Conv::default()
    };
    let y = graph.add1(conv, &[x, w]).unwrap();
    graph.output("y", y);
    let x = samples::uniform(&[2, 16, 4, 4], 2);
    let want = host::run(&graph, std::slice::from_ref(&x)).unwrap();
    let model = Model::new(graph, &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let got = pollster::block_on(session.run(&[("x", x)])).unwrap();
    assert!(nmse(&got[0].1, &want[0]).unwrap() < 1e-10);
    assert!(model.memory_stats().host_weights < SMALL, "the shape stays");
    assert!(model.memory_stats().weights >= BYTES);
}

/// A convolution and its batch normalisation, on a weight that a Transpose turns: folded, and folded again.
fn normalised(weight: impl Into<Weight>) -> Graph {
    let mut graph = Graph::new();
    let shape = vec![
        Dim::symbol("n"),
        16usize.into(),
        4usize.into(),
        4usize.into(),
    ];
    let x = graph
        .input("x", Some(Fact::new(DType::F32, shape)))
        .unwrap();
    let w = graph.constant(weight);
    let turn = Attrs::new("Transpose").with("perm", vec![1i64, 0, 2, 3]);
    let turn = Op::from_name("Transpose", &turn).unwrap();
    let w = graph.add1(turn, &[w]).unwrap();
    let conv = Conv {
        group: 1,
        ..Conv::default()
    };
    let y = graph.add1(conv, &[x, w]).unwrap();
    let mut part = |seed, low, high| graph.constant(samples::between(&[256], seed, low, high));
    let parts = [
        part(3, 0.5, 1.5),
        part(4, -1.0, 1.0),
        part(5, -1.0, 1.0),
        part(6, 0.5, 2.0),
    ];
    let inputs = [[y].as_slice(), &parts].concat();
    let norm = Op::from_name("BatchNormalization", &Attrs::new("BatchNormalization")).unwrap();
    let y = graph.add1(norm, &inputs).unwrap();
    graph.output("y", y);
    graph
}

#[test]
fn what_is_folded_from_weights_is_made_again_from_them() {
    let (Some(first), store) = (gpu(), Store::default()) else {
        return;
    };
    let tensor = samples::uniform(&[16, 256, 4, 4], 1);
    let x = samples::uniform(&[2, 16, 4, 4], 2);
    let want = host::run(&normalised(tensor.clone()), std::slice::from_ref(&x)).unwrap();
    let model = Model::new(
        normalised(store.weight(&tensor)),
        &first,
        ModelOptions::default(),
    );
    let run = |model: &Model| {
        let mut session = Session::new(model).unwrap();
        let got = pollster::block_on(session.run(&[("x", x.clone())])).unwrap();
        assert!(nmse(&got[0].1, &want[0]).unwrap() < 1e-10);
        // The four vectors of 1 KiB, twice, their factors, and nothing of the filter.
        assert!(model.memory_stats().host_weights < 16 * 1024);
        assert!(model.memory_stats().weights >= BYTES);
    };
    run(&model);
    assert_eq!(store.calls(), 1);
    run(&model);
    assert_eq!(store.calls(), 1);
    let Some(second) = gpu() else { return };
    run(&model.on(&second));
    assert_eq!(store.calls(), 2);
}

/// A weight whose callback asks `model` for statistics.
fn asking(tensor: HostTensor, model: &Arc<OnceLock<Model>>) -> Weight {
    let model = model.clone();
    let (dtype, shape) = (tensor.dtype(), tensor.shape().clone());
    let load = move || {
        model.get().map(Model::memory_stats);
        // A copy of its own, as from a file.
        let (shape, bytes) = (tensor.shape(), tensor.bytes());
        Ok(HostTensor::from_bytes(tensor.dtype(), shape, bytes)?)
    };
    Weight::from_fn(dtype, shape, load).unwrap()
}

/// When passes fold a weight, when it is packed, and when it is uploaded as it is.
#[test]
fn a_callback_may_ask_for_statistics() {
    let Some(gpu) = gpu() else { return };
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let folded = |model: &_| normalised(asking(samples::uniform(&[16, 256, 4, 4], 1), model));
        let read_by = |name: &str, model: &_| {
            let mut graph = Graph::new();
            let x = graph.input("x", rows("n")).unwrap();
            let w = graph.constant(asking(samples::uniform(&[SIZE, SIZE], 1), model));
            let y = graph.add1(op(name), &[x, w]).unwrap();
            graph.output("y", y);
            graph
        };
        let asked: [Arc<OnceLock<Model>>; 3] = Default::default();
        let image = samples::uniform(&[2, 16, 4, 4], 2);
        let table = samples::uniform(&[SIZE, SIZE], 2);
        for (graph, x, asked) in [
            (folded(&asked[0]), image, &asked[0]),
            (read_by("MatMul", &asked[1]), table.clone(), &asked[1]),
            (read_by("Add", &asked[2]), table, &asked[2]),
        ] {
            let model = Model::new(graph, &gpu, ModelOptions::default());
            asked.set(model.clone()).unwrap();
            let mut session = Session::new(&model).unwrap();
            pollster::block_on(session.run(&[("x", x)])).unwrap();
        }
        done.send(()).unwrap();
    });
    let ended = finished.recv_timeout(Duration::from_secs(120));
    ended.expect("a callback waits for itself");
}
