//! Every operator's cases on wgpu's noop backend, which validates everything and computes nothing: programs, bind groups,
//! uploads, replays and copies are made as on a GPU, without one.

mod common;

use common::hosted::Hosted;
use common::{fed, graph_of};
use tilewright_device::{Gpu, GpuOptions};
use tilewright_graph::{Case, HostStep, Model, ModelOptions, Op, Session};
use tilewright_tensor::HostTensor;

/// Runs one case twice; the shapes and types must be right, the values cannot be. What of it ran on the host.
fn run(case: &Case, gpu: &Gpu) -> Result<Vec<HostStep>, tilewright_graph::Error> {
    let args: Vec<Option<&HostTensor>> = case.inputs.iter().map(Option::as_ref).collect();
    let expected = case.op.reference(&args)?;
    let graph = graph_of(case, expected.len())?;
    let model = Model::new(graph, gpu, ModelOptions::default());
    let mut session = Session::new(&model)?;
    let fed = fed(case);
    let fed: Vec<_> = fed.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    for _ in 0..2 {
        let outputs = pollster::block_on(session.run(&fed))?;
        assert_eq!(outputs.len(), expected.len());
        for ((name, got), want) in outputs.iter().zip(&expected) {
            assert_eq!(got.dtype(), want.dtype(), "{name}");
            assert_eq!(got.shape(), want.shape(), "{name}");
        }
    }
    gpu.check().map_err(tilewright_graph::Error::from)?;
    Ok(session.host_steps())
}

#[test]
fn cases_are_valid_on_the_noop_backend() {
    let gpu = pollster::block_on(Gpu::new(GpuOptions::new().noop())).unwrap();
    let (mut hosted, mut failures) = (Hosted::default(), vec![]);
    for case in Op::cases() {
        match run(&case, &gpu) {
            Ok(steps) => hosted.note(&case, &steps),
            Err(e) => failures.push(format!("{} `{}`: {e}", case.op.name(), case.name)),
        }
    }
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} cases failed:\n{}",
        failures.join("\n")
    );
    hosted.agree(gpu.caps().f16);
}
