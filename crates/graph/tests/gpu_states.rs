//! States: a counter and a moving average, on the device and on the host.

mod common;

use common::{any_gpu as gpu, op};
use tilewright_graph::{Fact, Graph, Model, ModelOptions, Session};
use tilewright_tensor::{DType, HostTensor};

/// count += 1; average = 0.75 * average + 0.25 * x; gives the old average.
fn graph() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", Some(Fact::sized(DType::F32, &[3]))).unwrap();
    let count = g.state("count", HostTensor::scalar(0i32)).unwrap();
    let one = g.scalar(DType::I32, 1.0).unwrap();
    let more = g.add1(op("Add"), &[count, one]).unwrap();
    g.set_next(count, more).unwrap();
    let average = g
        .state("average", HostTensor::from_vec([3], vec![0f32; 3]).unwrap())
        .unwrap();
    let (keep, take) = (
        g.scalar(DType::F32, 0.75).unwrap(),
        g.scalar(DType::F32, 0.25).unwrap(),
    );
    let kept = g.add1(op("Mul"), &[average, keep]).unwrap();
    let taken = g.add1(op("Mul"), &[x, take]).unwrap();
    let next = g.add1(op("Add"), &[kept, taken]).unwrap();
    g.set_next(average, next).unwrap();
    g.output("before", average);
    g
}

fn check(model: &Model) {
    let mut session = Session::new(model).unwrap();
    let x = HostTensor::from_vec([3], vec![1f32, 2.0, -4.0]).unwrap();
    let mut expected = [0f32; 3];
    for run in 0..5 {
        let outputs = pollster::block_on(session.run(&[("x", x.clone())])).unwrap();
        assert_eq!(outputs[0].1.to_vec::<f32>().unwrap(), expected, "run {run}");
        for (e, x) in expected.iter_mut().zip([1.0, 2.0, -4.0]) {
            *e = 0.75 * *e + 0.25 * x;
        }
    }
    let read = |s: &Session, name: &str| pollster::block_on(s.state(name)).unwrap();
    assert_eq!(read(&session, "count"), HostTensor::scalar(5i32));
    assert_eq!(read(&session, "average").to_vec::<f32>().unwrap(), expected);

    session
        .set_state("count", &HostTensor::scalar(40i32))
        .unwrap();
    pollster::block_on(session.run(&[("x", x)])).unwrap();
    assert_eq!(read(&session, "count"), HostTensor::scalar(41i32));
    assert!(
        session
            .set_state("count", &HostTensor::scalar(1f32))
            .is_err()
    );
    assert!(pollster::block_on(session.state("other")).is_err());

    // Another session of the same model starts from the initial values.
    let other = Session::new(model).unwrap();
    assert_eq!(read(&other, "count"), HostTensor::scalar(0i32));
}

#[test]
fn states_live_on_the_host() {
    check(&Model::host(graph(), ModelOptions::default()));
}

#[test]
fn states_live_on_the_device() {
    if let Some(gpu) = gpu() {
        check(&Model::new(graph(), &gpu, ModelOptions::default()));
    }
}

/// The model on the host, and on the device.
fn both(graph: &Graph, test: impl Fn(&Model)) {
    test(&Model::host(graph.clone(), ModelOptions::default()));
    if let Some(gpu) = gpu() {
        test(&Model::new(graph.clone(), &gpu, ModelOptions::default()));
    }
}

fn floats(values: &[f32]) -> HostTensor {
    HostTensor::from_vec([values.len()], values.to_vec()).unwrap()
}

/// A state may become another.
#[test]
fn states_may_swap() {
    let mut g = Graph::new();
    let a = g.state("a", HostTensor::scalar(1f32)).unwrap();
    let b = g.state("b", HostTensor::scalar(2f32)).unwrap();
    g.set_next(a, b).unwrap();
    g.set_next(b, a).unwrap();
    let sum = g.add1(op("Sub"), &[a, b]).unwrap();
    g.output("difference", sum);
    both(&g, |model| {
        let mut session = Session::new(model).unwrap();
        for expected in [-1.0, 1.0, -1.0] {
            let outputs = pollster::block_on(session.run(&[])).unwrap();
            assert_eq!(outputs[0].1.item::<f32>().unwrap(), expected);
        }
    });
}

#[test]
fn states_may_become_inputs_and_constants() {
    let mut g = Graph::new();
    let x = g.input("x", Some(Fact::sized(DType::F32, &[2]))).unwrap();
    let last = g.state("last", floats(&[0.0, 0.0])).unwrap();
    let once = g.state("once", floats(&[1.0, 1.0])).unwrap();
    let ten = g.constant(floats(&[10.0, 10.0]));
    g.set_next(last, x).unwrap();
    g.set_next(once, ten).unwrap();
    let sum = g.add1(op("Add"), &[last, once]).unwrap();
    g.output("sum", sum);
    both(&g, |model| {
        let mut session = Session::new(model).unwrap();
        for (x, expected) in [([2.0, 3.0], [1.0, 1.0]), ([4.0, 5.0], [12.0, 13.0])] {
            let outputs = pollster::block_on(session.run(&[("x", floats(&x))])).unwrap();
            assert_eq!(outputs[0].1.to_vec::<f32>().unwrap(), expected);
        }
        let last = pollster::block_on(session.state("last")).unwrap();
        assert_eq!(last, floats(&[4.0, 5.0]));
    });
}

/// A reshape is another name for the same memory, here that of a state or of a constant.
#[test]
fn aliases_of_states() {
    let mut g = Graph::new();
    let s = g.state("s", floats(&[1.0, 2.0, 3.0])).unwrap();
    let column = g.constant(HostTensor::from_vec([2], vec![3i64, 1]).unwrap());
    let tall = g.add1(op("Reshape"), &[s, column]).unwrap();
    let more = g.add1(op("Add"), &[s, s]).unwrap();
    let next = g.add1(op("Reshape"), &[more, column]).unwrap();
    let flat = g.constant(HostTensor::from_vec([1], vec![3i64]).unwrap());
    let next = g.add1(op("Reshape"), &[next, flat]).unwrap();
    let held = g.state("held", floats(&[0.0; 3])).unwrap();
    let again = g.add1(op("Reshape"), &[tall, flat]).unwrap();
    g.set_next(s, next).unwrap();
    g.set_next(held, again).unwrap();
    g.output("tall", tall);
    both(&g, |model| {
        let mut session = Session::new(model).unwrap();
        let mut value = [1f32, 2.0, 3.0];
        for _ in 0..3 {
            let outputs = pollster::block_on(session.run(&[])).unwrap();
            assert_eq!(outputs[0].1.shape()[..], [3, 1]);
            assert_eq!(outputs[0].1.to_vec::<f32>().unwrap(), value);
            let held = pollster::block_on(session.state("held")).unwrap();
            assert_eq!(held.to_vec::<f32>().unwrap(), value);
            value = value.map(|v| v + v);
        }
        let s = pollster::block_on(session.state("s")).unwrap();
        assert_eq!(s.to_vec::<f32>().unwrap(), value);
    });
}

/// A run that fails after its states were computed leaves them as they were.
#[test]
fn a_failed_run_changes_no_state() {
    let mut g = Graph::new();
    let x = g.input("x", Some(Fact::sized(DType::F32, &[4]))).unwrap();
    let count = g.state("count", floats(&[0.0])).unwrap();
    let one = g.constant(floats(&[1.0]));
    let next = g.add1(op("Add"), &[count, one]).unwrap();
    g.set_next(count, next).unwrap();
    // As many rows as x has nonzero elements; that these are two is not known before.
    let some = g.add1(op("NonZero"), &[x]).unwrap();
    let pair = g.constant(HostTensor::from_vec([2], vec![1i64, 2]).unwrap());
    let y = g.add1(op("Reshape"), &[some, pair]).unwrap();
    g.output("y", y);
    g.output("count", count);
    both(&g, |model| {
        let mut session = Session::new(model).unwrap();
        let mut run = |x: [f32; 4]| pollster::block_on(session.run(&[("x", floats(&x))]));
        assert_eq!(run([0.0, 1.0, 0.0, 1.0]).unwrap()[1].1, floats(&[0.0]));
        run([1.0, 1.0, 1.0, 0.0]).unwrap_err();
        let outputs = run([1.0, 0.0, 0.0, 1.0]).unwrap();
        assert_eq!(outputs[0].1.to_vec::<i64>().unwrap(), [0, 3]);
        assert_eq!(outputs[1].1, floats(&[1.0]));
    });
}
