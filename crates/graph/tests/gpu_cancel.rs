//! Runs that are cancelled, dropped half-way or profiled, and the session afterwards.

mod common;

use common::{any_gpu as open, op};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tilewright_device::{Budget, CancelToken, Error as DeviceError, Gpu, SubmitOptions};
use tilewright_graph::fact::{Facts, Tensors};
use tilewright_graph::ops::Loop;
use tilewright_graph::{
    Attrs, CustomOp, Error, Fact, Graph, Model, ModelOptions, Op, RunLimits, Session, Value, host,
    samples,
};
use tilewright_tensor::{DType, HostTensor, nmse};

/// Every dispatch in a submission of its own.
const APART: Budget = Budget::Time(Duration::from_nanos(1));

/// Rows and columns: the host gets to poll before the device is done.
const N: usize = 128;

fn fact(shape: &[usize]) -> Option<Fact> {
    Some(Fact::sized(DType::F32, shape))
}

fn session(gpu: &Gpu, graph: &Graph) -> Session {
    Session::new(&Model::new(graph.clone(), gpu, ModelOptions::default())).unwrap()
}

fn input() -> HostTensor {
    samples::uniform(&[N, N], 1)
}

/// `steps` products in a row.
fn products(g: &mut Graph, x: Value, steps: u64) -> Value {
    (0..steps).fold(x, |x, seed| {
        let w = g.constant(samples::uniform(&[N, N], 10 + seed));
        let y = g.add1(op("MatMul"), &[x, w]).unwrap();
        g.add1(op("Softmax"), &[y]).unwrap()
    })
}

/// A state that counts runs, added to what `make` makes of the input x `[N, N]`.
fn counting(make: impl FnOnce(&mut Graph, Value) -> Value) -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", fact(&[N, N])).unwrap();
    let count = g.state("count", HostTensor::scalar(0f32)).unwrap();
    let one = g.scalar(DType::F32, 1.0).unwrap();
    let more = g.add1(op("Add"), &[count, one]).unwrap();
    g.set_next(count, more).unwrap();
    let made = make(&mut g, x);
    let y = g.add1(op("Add"), &[made, count]).unwrap();
    g.output("y", y);
    g
}

/// Eight kernels and a state.
fn straight() -> Graph {
    counting(|g, x| products(g, x, 4))
}

/// The body of a loop runs on the device, in an arena of its own.
fn looping() -> Graph {
    counting(|g, x| {
        let mut body = Graph::new();
        body.input("i", Some(Fact::sized(DType::I64, &[]))).unwrap();
        let go = body.input("go", Some(Fact::sized(DType::Bool, &[])));
        let s = body.input("s", fact(&[N, N])).unwrap();
        let s = products(&mut body, s, 2);
        body.output("go", go.unwrap());
        body.output("s", s);
        let body = Arc::new(body);
        let kept = g.add1(op("Tanh"), &[x]).unwrap();
        let count = g.constant(HostTensor::scalar(4i64));
        let node = Loop { body, captures: 0 };
        let inputs = [Some(count), None, Some(x)];
        let out = g.add_node(node.into(), &inputs, "loop", 1).unwrap();
        g.add1(op("Add"), &[out[0], kept]).unwrap()
    })
}

/// What follows a node on the host, and what waits for a shape that the data decide.
fn late() -> Graph {
    counting(|g, x| {
        let y = products(g, x, 1);
        let places = g.add1(op("NonZero"), &[x]).unwrap();
        let places = g.add1(op("Abs"), &[places]).unwrap();
        let sizes = g.add1(op("Size"), &[places]).unwrap();
        let to = Attrs::new("Cast").with("to", tilewright_graph::attrs::dtype_code(DType::F32));
        let sizes = g
            .add1(Op::from_name("Cast", &to).unwrap(), &[sizes])
            .unwrap();
        g.add1(op("Add"), &[y, sizes]).unwrap()
    })
}

fn count(session: &Session) -> f32 {
    let count = pollster::block_on(session.state("count")).unwrap();
    count.item().unwrap()
}

/// What the first run gives.
fn first(graph: &Graph) -> HostTensor {
    host::run(graph, &[input()]).unwrap().remove(0)
}

/// Runs after so many runs, the first of which gave `first`.
fn check(session: &mut Session, first: &HostTensor, runs: f32) {
    assert_eq!(count(session), runs);
    let want = first.to_f64().iter().map(|v| v + f64::from(runs)).collect();
    let want = HostTensor::from_f64(DType::F32, first.shape().clone(), want).unwrap();
    let got = pollster::block_on(session.run(&[("x", input())])).unwrap();
    let error = nmse(&got[0].1, &want).unwrap();
    assert!(error < 1e-10, "after {runs} runs: {error:e}");
    assert_eq!(count(session), runs + 1.0);
}

fn is_cancelled(error: &Error) -> bool {
    match error {
        Error::Device(DeviceError::Cancelled) => true,
        Error::Node { source, .. } => is_cancelled(source),
        _ => false,
    }
}

#[test]
fn a_cancelled_token_stops_a_run() {
    let Some(gpu) = open() else { return };
    for graph in [straight(), looping(), late()] {
        let mut session = session(&gpu, &graph);
        let first = first(&graph);
        let token = CancelToken::new();
        let apart = SubmitOptions::new().budget(APART);
        session.set_submit_options(apart.cancel(token.clone()));
        check(&mut session, &first, 0.0);
        token.cancel();
        for _ in 0..2 {
            let error = pollster::block_on(session.run(&[("x", input())])).unwrap_err();
            assert!(is_cancelled(&error), "{error}");
        }
        session.set_submit_options(SubmitOptions::new());
        check(&mut session, &first, 1.0);
    }
}

/// A node on the host that cancels.
#[derive(Clone, Debug)]
struct Stop(CancelToken);

impl CustomOp for Stop {
    fn name(&self) -> &'static str {
        "test:Stop"
    }
    fn attrs(&self) -> Attrs {
        Attrs::new("Stop")
    }
    fn infer(&self, inputs: Facts<'_>) -> tilewright_graph::Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }
    fn reference(&self, inputs: Tensors<'_>) -> tilewright_graph::Result<Vec<HostTensor>> {
        self.0.cancel();
        Ok(vec![inputs.req(0)?.clone()])
    }
}

#[test]
fn a_token_stops_a_run_in_the_middle() {
    let Some(gpu) = open() else { return };
    let token = CancelToken::new();
    let stop: Arc<dyn CustomOp> = Arc::new(Stop(token.clone()));
    let graph = counting(|g, x| {
        let before = products(g, x, 2);
        let x = g.add1(stop, &[before]).unwrap();
        products(g, x, 2)
    });
    let mut session = session(&gpu, &graph);
    session.set_submit_options(SubmitOptions::new().cancel(token.clone()));
    let error = pollster::block_on(session.run(&[("x", input())])).unwrap_err();
    // What was submitted before the host's node was cancelled by nobody; what follows it was.
    assert!(token.is_cancelled() && is_cancelled(&error), "{error}");
    session.set_submit_options(SubmitOptions::new());
    check(&mut session, &first(&graph), 0.0);
}

#[test]
fn a_token_stops_work_on_the_host() {
    let Some(gpu) = open() else { return };
    for on_device in [true, false] {
        let token = CancelToken::new();
        let stop: Arc<dyn CustomOp> = Arc::new(Stop(token.clone()));
        // No device stores f64.
        let mut graph = Graph::new();
        let x = graph
            .input("x", Some(Fact::sized(DType::F64, &[8])))
            .unwrap();
        let x = graph.add1(stop, &[x]).unwrap();
        let y = graph.add1(op("Softmax"), &[x]).unwrap();
        graph.output("y", y);
        let model = match on_device {
            true => Model::new(graph, &gpu, ModelOptions::default()),
            false => Model::host(graph, ModelOptions::default()),
        };
        let mut session = Session::new(&model).unwrap();
        session.set_submit_options(SubmitOptions::new().cancel(token.clone()));
        let inputs = [("x", HostTensor::from_vec([8], vec![0f64; 8]).unwrap())];
        // The first run is stopped by its own node, the second before it.
        for _ in 0..2 {
            let error = pollster::block_on(session.run(&inputs)).unwrap_err();
            assert!(is_cancelled(&error), "{error}");
        }
        session.set_submit_options(SubmitOptions::new());
        pollster::block_on(session.run(&inputs)).unwrap();
    }
}

/// Fails between submissions: all nodes are of one stage.
#[test]
fn the_time_of_a_run_ends_between_submissions() {
    let Some(gpu) = open() else { return };
    let graph = counting(|g, x| products(g, x, 48));
    let model = |limits: RunLimits| {
        let mut options = ModelOptions::default();
        options.limits = limits;
        let model = Model::new(graph.clone(), &gpu, options);
        let mut session = Session::new(&model).unwrap();
        session.set_submit_options(SubmitOptions::new().budget(APART));
        pollster::block_on(session.prepare(&[("x", &[N, N])])).unwrap();
        session
    };
    let mut session = model(RunLimits::default());
    pollster::block_on(session.run(&[("x", input())])).unwrap();
    let began = Instant::now();
    pollster::block_on(session.run(&[("x", input())])).unwrap();
    let mut limits = RunLimits::default();
    limits.wall_time = began.elapsed() / 4;
    let mut session = model(limits);
    // The first run uploads weights, which may take all the time there is; a late one begins with everything in place.
    for _ in 0..3 {
        let error = pollster::block_on(session.run(&[("x", input())])).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
        assert_eq!(count(&session), 0.0);
    }
}

/// Wakes the thread that polls.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until it is done, or has been pending `times` times: then it is dropped.
fn poll<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let started = Instant::now();
    for pending in 0..=times {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        if pending < times {
            thread::park_timeout(Duration::from_secs(10));
            assert!(started.elapsed() < Duration::from_secs(60), "never woken");
        }
    }
    None
}

/// Drops runs after ever more polls, and checks the session each time.
fn drop_everywhere(graph: &Graph, profile: bool) {
    let Some(gpu) = open() else { return };
    let mut session = session(&gpu, graph);
    session.set_submit_options(SubmitOptions::new().budget(APART));
    let first = first(graph);
    check(&mut session, &first, 0.0);
    let held = gpu.memory_stats().buffers;
    let mut dropped = 0;
    for polls in 0..24 {
        let inputs = [("x", input())];
        let before = count(&session);
        let ended = match profile {
            true => poll(session.profile(&inputs), polls).map(|r| r.map(|_| ())),
            false => poll(session.run(&inputs), polls).map(|r| r.map(|_| ())),
        };
        // States change after everything else of a run.
        let after = count(&session);
        match ended {
            Some(result) => {
                result.unwrap();
                assert_eq!(after, before + 1.0);
            }
            None => {
                assert!(
                    after == before || after == before + 1.0,
                    "{before}, {after}"
                );
                dropped += 1;
            }
        }
        check(&mut session, &first, after);
        // Some to read through may have been lost on the way; an arena for each dropped run would be too many.
        let now = gpu.memory_stats().buffers;
        assert!(now <= held + 3, "{now} buffers, {held} before");
    }
    assert!(dropped > 0, "nothing was ever pending");
}

#[test]
fn a_dropped_run_leaves_the_session_usable() {
    drop_everywhere(&straight(), false);
}

#[test]
fn so_does_one_dropped_in_a_loop() {
    drop_everywhere(&looping(), false);
}

#[test]
fn so_does_one_dropped_before_its_late_part() {
    drop_everywhere(&late(), false);
}

#[test]
fn so_does_a_dropped_profile() {
    drop_everywhere(&straight(), true);
    drop_everywhere(&looping(), true);
}

#[test]
fn a_profile_lists_every_dispatch_once() {
    let Some(gpu) = open() else { return };
    let graph = straight();
    let mut session = session(&gpu, &graph);
    let first = first(&graph);
    check(&mut session, &first, 0.0);
    let times = pollster::block_on(session.profile(&[("x", input())])).unwrap();
    let plans = session.plans();
    let plan: Vec<(String, String)> = (plans[0].stages.iter())
        .filter_map(|stage| match stage {
            tilewright_graph::plan::PlanStage::Device { steps, .. } => Some(steps),
            _ => None,
        })
        .flatten()
        .flat_map(|step| {
            step.dispatches
                .iter()
                .map(|d| (step.node, d.variant.shader))
        })
        .map(|(node, shader)| {
            let node = &session.graph().nodes()[node as usize];
            (node.name.to_string(), shader.to_string())
        })
        .collect();
    assert!(plan.len() >= 8, "{plan:?}");
    let listed: Vec<_> = (times.iter())
        .map(|t| (t.node.clone(), t.shader.clone()))
        .collect();
    assert_eq!(listed, plan);
    assert!(times.iter().any(|t| t.nanoseconds > 0), "{times:?}");
    // It was a run, and the next one is right.
    check(&mut session, &first, 2.0);
}

/// A loop's body is profiled in every turn.
#[test]
fn a_profile_lists_every_turn_of_a_loop() {
    let Some(gpu) = open() else { return };
    let graph = looping();
    let mut session = session(&gpu, &graph);
    let times = pollster::block_on(session.profile(&[("x", input())])).unwrap();
    let products = times.iter().filter(|t| t.op == "MatMul").count();
    assert_eq!(products, 2 * 4, "{times:?}");
    check(&mut session, &first(&graph), 1.0);
}
