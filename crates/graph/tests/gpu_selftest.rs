//! Self-test and quarantine: what is right stays, what is wrong gives way to another loop, and says so.

mod common;

use common::{add, gpu, op};
use std::sync::{Arc, Mutex};
use tilewright_device::{Gpu, GpuOptions};
use tilewright_graph::selftest::Tester;
use tilewright_graph::{Attrs, Fact, Graph, Model, ModelOptions, SelfTest, Session, host, samples};
use tilewright_kernels::{Chosen, Loop};
use tilewright_tensor::{DType, HostTensor, nmse};

const SHAPE: [usize; 2] = [150, 70];

/// Two products with a softmax between, the second fused.
fn graph() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", Some(Fact::sized(DType::F32, &SHAPE))).unwrap();
    let w = g.constant(samples::uniform(&[70, 96], 1));
    let v = g.constant(samples::uniform(&[96, 40], 2));
    let y = g.add1(op("MatMul"), &[x, w]).unwrap();
    let y = add(
        &mut g,
        "Softmax",
        Attrs::new("Softmax").with("axis", -1i64),
        &[y],
    );
    let y = g.add1(op("MatMul"), &[y, v]).unwrap();
    let y = g.add1(op("Relu"), &[y]).unwrap();
    g.output("y", y);
    g
}

fn input() -> HostTensor {
    samples::uniform(&SHAPE, 3)
}

fn session(gpu: &Gpu, options: ModelOptions) -> Session {
    Session::new(&Model::new(graph(), gpu, options)).unwrap()
}

/// The loops of the newest plan.
fn loops(session: &Session) -> Vec<Loop> {
    let plans = session.plans();
    let steps = plans[0].steps();
    steps.flat_map(|s| s.chosen.iter().map(|c| c.of)).collect()
}

fn check(session: &mut Session) {
    let got = pollster::block_on(session.run(&[("x", input())])).unwrap();
    let want = host::run(&graph(), &[input()]).unwrap();
    assert!(nmse(&got[0].1, &want[0]).unwrap() < 1e-10);
}

fn spoiled(outputs: Vec<HostTensor>) -> Vec<HostTensor> {
    let zeros = |t: &HostTensor| HostTensor::zeros(t.dtype(), t.shape().clone()).unwrap();
    outputs.iter().map(zeros).collect()
}

#[test]
fn a_right_plan_is_wholly_tested_and_stays() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let mut session = session(&gpu, ModelOptions::default());
    let shapes: [(&str, &[usize]); 1] = [("x", &SHAPE)];
    let mut tester = Tester::new();
    let report = pollster::block_on(session.self_test(&shapes, &mut tester)).unwrap();
    assert!(report.wrong.is_empty(), "{report:?}");
    assert!(report.unchecked.is_empty(), "{report:?}");
    let plans = session.plans();
    let all = plans[0].dispatches();
    assert!(all.count() >= 3 && report.right.len() >= 3, "{report:?}");
    // What is right is not tested again.
    let again = pollster::block_on(session.self_test(&shapes, &mut tester)).unwrap();
    assert!(again.right.is_empty() && again.unchecked.is_empty());
}

#[test]
fn a_wrong_loop_is_quarantined_and_another_is_taken() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let mut session = session(&gpu, ModelOptions::default());
    let shapes: [(&str, &[usize]); 1] = [("x", &SHAPE)];
    pollster::block_on(session.prepare(&shapes)).unwrap();
    let before = loops(&session);
    let bad = before[0];
    let mut tester = Tester::new().observing(move |chosen: &[Chosen], outputs| {
        match chosen.iter().any(|c| c.of == bad) {
            true => spoiled(outputs),
            false => outputs,
        }
    });
    let report = pollster::block_on(session.self_test(&shapes, &mut tester)).unwrap();
    assert!(!report.wrong.is_empty());
    assert!(report.hopeless().is_none());
    for wrong in &report.wrong {
        assert!(
            wrong.quarantined.iter().all(|(_, of)| *of == bad),
            "{wrong}"
        );
        assert!(wrong.to_string().contains(&format!("`{bad}`")), "{wrong}");
    }
    let after = loops(&session);
    assert_eq!(before.len(), after.len());
    assert!(!after.contains(&bad), "{after:?}");
    assert_eq!(session.quarantined().len(), report.wrong.len());
    check(&mut session);
    // Other sessions of the model take the others too, those of another model do not.
    let mut other = Session::new(session.model()).unwrap();
    check(&mut other);
    assert_eq!(loops(&other), after);
    let mut fresh = self::session(&gpu, ModelOptions::default());
    check(&mut fresh);
    assert_eq!(loops(&fresh), before);
}

#[test]
fn where_nothing_else_is_left_it_says_so() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let shapes: [(&str, &[usize]); 1] = [("x", &SHAPE)];
    let mut none = Tester::new().observing(|chosen: &[Chosen], outputs| match chosen.is_empty() {
        true => outputs,
        false => spoiled(outputs),
    });
    let mut of = session(&gpu, ModelOptions::default());
    let error = pollster::block_on(of.self_test(&shapes, &mut none)).unwrap_err();
    let told = error.to_string();
    assert!(told.contains("every variant was found wrong"), "{told}");
    // The softmax has one form.
    let mut others =
        Tester::new().observing(|chosen: &[Chosen], outputs| match chosen.is_empty() {
            true => spoiled(outputs),
            false => outputs,
        });
    let mut of = session(&gpu, ModelOptions::default());
    let report = pollster::block_on(of.self_test(&shapes, &mut others)).unwrap();
    let wrong = report.hopeless().unwrap();
    assert_eq!(wrong.op, "Softmax");
    assert!(wrong.to_string().contains("softmax"), "{wrong}");
}

#[test]
fn a_session_tests_its_plans_by_itself_where_the_options_say_so() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let mut options = ModelOptions::default();
    options.self_test = SelfTest::Quick;
    let mut quick = session(&gpu, options);
    let before = gpu.submission_count();
    check(&mut quick);
    let first = gpu.submission_count() - before;
    check(&mut quick);
    let second = gpu.submission_count() - before - first;
    assert!(first > second, "{first} submissions, then {second}");
    assert!(quick.quarantined().is_empty());
}

#[test]
fn every_loop_of_the_adapter_is_right() {
    for options in [GpuOptions::new(), GpuOptions::new().default_limits_only()] {
        let Some(gpu) = gpu(options) else {
            return;
        };
        let seen = Arc::new(Mutex::new(vec![]));
        let noted = seen.clone();
        let mut tester = Tester::new().observing(move |chosen: &[Chosen], outputs| {
            noted.lock().unwrap().extend(chosen.iter().map(|c| c.of));
            outputs
        });
        let report = pollster::block_on(tester.products(&gpu, |_, _| {})).unwrap();
        let wrong: Vec<String> = report.wrong.iter().map(|w| w.to_string()).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let mut seen = seen.lock().unwrap().clone();
        seen.sort();
        seen.dedup();
        assert!(seen.len() >= 6, "{seen:?}");
    }
}
