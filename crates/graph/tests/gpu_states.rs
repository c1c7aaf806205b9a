//! States: a counter and a moving average, on the device and on the host.

use tilewright_device::{Gpu, GpuOptions};
use tilewright_graph::{Attrs, Fact, Graph, Model, ModelOptions, Op, Session};
use tilewright_tensor::{DType, HostTensor};

fn op(name: &str) -> Op {
    Op::from_name(name, &Attrs::new(name)).unwrap()
}

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
    match pollster::block_on(Gpu::new(GpuOptions::new())) {
        Ok(gpu) => check(&Model::new(graph(), &gpu, ModelOptions::default())),
        Err(e) if std::env::var_os("TILEWRIGHT_SKIP_GPU").is_some() => eprintln!("skipped: {e}"),
        Err(e) => panic!("no adapter: {e}; set TILEWRIGHT_SKIP_GPU=1 to go without"),
    }
}

/// A state may become another, an input, or a constant.
#[test]
fn states_may_swap() {
    let mut g = Graph::new();
    let a = g.state("a", HostTensor::scalar(1f32)).unwrap();
    let b = g.state("b", HostTensor::scalar(2f32)).unwrap();
    g.set_next(a, b).unwrap();
    g.set_next(b, a).unwrap();
    let sum = g.add1(op("Sub"), &[a, b]).unwrap();
    g.output("difference", sum);
    let run = |model: &Model| {
        let mut session = Session::new(model).unwrap();
        let mut seen = vec![];
        for _ in 0..3 {
            seen.push(
                pollster::block_on(session.run(&[])).unwrap()[0]
                    .1
                    .item::<f32>()
                    .unwrap(),
            );
        }
        seen
    };
    assert_eq!(
        run(&Model::host(g.clone(), ModelOptions::default())),
        [-1.0, 1.0, -1.0]
    );
    if let Ok(gpu) = pollster::block_on(Gpu::new(GpuOptions::new())) {
        assert_eq!(
            run(&Model::new(g, &gpu, ModelOptions::default())),
            [-1.0, 1.0, -1.0]
        );
    }
}
