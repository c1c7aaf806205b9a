//! The tuner: valid candidates, equal results, limits that are kept.

mod common;

use common::{gpu, op};
use std::time::Duration;
use tilewright_device::{CancelToken, Error as DeviceError, Gpu, GpuOptions};
use tilewright_graph::tune::{Report, Tuner};
use tilewright_graph::{Error, Fact, Graph, Model, ModelOptions, Session, samples};
use tilewright_kernels::{Choices, Loop, Tuning};
use tilewright_tensor::{DType, HostTensor, nmse};

const SHAPE: [usize; 2] = [200, 130];

/// A product with a weight and a function, and one with another that differs in size.
fn graph() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", Some(Fact::sized(DType::F32, &SHAPE))).unwrap();
    let w = g.constant(samples::uniform(&[130, 300], 1));
    let v = g.constant(samples::uniform(&[300, 40], 2));
    let y = g.add1(op("MatMul"), &[x, w]).unwrap();
    let y = g.add1(op("Relu"), &[y]).unwrap();
    let y = g.add1(op("MatMul"), &[y, v]).unwrap();
    g.output("y", y);
    g
}

fn input() -> HostTensor {
    samples::uniform(&SHAPE, 3)
}

fn quick() -> Tuner {
    let mut tuner = Tuner::new();
    tuner.rounds = 2;
    tuner.sample = Duration::from_millis(1);
    tuner
}

fn tune(gpu: &Gpu, tuner: &Tuner) -> Result<Report, Error> {
    let model = Model::new(graph(), gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    pollster::block_on(tuner.tune(&mut session, &[("x", &SHAPE)], |_, _| {}))
}

/// The result, and the loops of the plan.
fn run(gpu: &Gpu, choices: Choices) -> (HostTensor, Vec<Loop>) {
    let model = Model::with_choices(graph(), gpu, ModelOptions::default(), choices);
    let mut session = Session::new(&model).unwrap();
    let mut outputs = pollster::block_on(session.run(&[("x", input())])).unwrap();
    let plans = session.plans();
    let chosen = plans[0].steps().flat_map(|s| &s.chosen);
    (outputs.remove(0).1, chosen.map(|c| c.of).collect())
}

#[test]
fn winners_are_candidates_and_their_results_are_equal() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let report = tune(&gpu, &quick()).unwrap();
    assert_eq!(
        report.rows.iter().map(|r| r.count).sum::<usize>() + report.alone,
        2
    );
    for row in &report.rows {
        let at = &row.site;
        let all = tilewright_kernels::candidates(gpu.caps(), at.m, at.n, at.k, at.batches);
        assert!(row.skipped.is_empty(), "{row:?}");
        let timed: Vec<Loop> = row.times.iter().map(|t| t.0).collect();
        // In another order than for sizes that may change.
        let sorted = |mut all: Vec<Loop>| {
            all.sort();
            all
        };
        assert_eq!(sorted(timed.clone()), sorted(all));
        assert!(row.times.iter().all(|t| t.1 > 0.0));
        assert!(timed.contains(&row.winner) && row.default == timed[0]);
        assert!(row.ratio() >= 1.0, "{row:?}");
    }
    let [default, tuned] = report.totals();
    assert!(tuned <= default);
    let (info, text) = (gpu.info(), report.tuning.to_json().unwrap());
    let tuning = Tuning::from_json(&text).unwrap();
    let choices = tuning.choices(&info.key, &info.driver).unwrap();
    let (plain, _) = run(&gpu, Choices::new());
    let (tuned, _) = run(&gpu, choices);
    assert!(nmse(&tuned, &plain).unwrap() < 1e-10);
}

#[test]
fn a_tuned_loop_is_what_a_plan_takes() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let report = tune(&gpu, &quick()).unwrap();
    let (plain, before) = run(&gpu, Choices::new());
    let mut choices = Choices::new();
    for row in &report.rows {
        choices.tune(&row.site, row.times.last().unwrap().0);
    }
    let (other, after) = run(&gpu, choices);
    assert!(nmse(&other, &plain).unwrap() < 1e-10);
    let last: Vec<Loop> = report
        .rows
        .iter()
        .map(|r| r.times.last().unwrap().0)
        .collect();
    assert!(!last.is_empty() && before != after);
    assert!(after.iter().all(|of| last.contains(of)), "{after:?}");
}

#[test]
fn large_products_are_skipped_and_said() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let mut tuner = quick();
    tuner.memory = 1000;
    let report = tune(&gpu, &tuner).unwrap();
    assert!(!report.rows.is_empty());
    for row in &report.rows {
        assert!(row.times.is_empty() && row.winner == row.default);
        assert!(
            row.skipped.iter().all(|s| s.1.contains("at most 1000")),
            "{row:?}"
        );
    }
    assert_eq!(report.tuning.entries().count(), 0);
}

#[test]
fn tuning_can_be_cancelled() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let mut tuner = quick();
    let token = CancelToken::new();
    token.cancel();
    tuner.cancel = Some(token);
    let error = tune(&gpu, &tuner).unwrap_err();
    assert!(
        matches!(error, Error::Device(DeviceError::Cancelled)),
        "{error}"
    );
}
