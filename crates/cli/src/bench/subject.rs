//! Our side of a case, be it one operator or a model, and what is timed beside it besides peers.

use super::model::ModelRun;
use super::ours::{Memory, Ours};
use super::work::Work;
use crate::Failure;
use serde_json::Value as Json;
use tilewright::Gpu;
use tilewright_benches::{Candidate, Sample, clocked, processors};

/// What takes turns with our default, and is no peer.
pub(super) struct Rival<'a> {
    pub(super) name: String,
    /// The group in reports: "candidate" or "copy".
    pub(super) role: &'static str,
    pub(super) first: Option<f64>,
    /// The variant of a candidate.
    pub(super) kernel: Option<String>,
    pub(super) time: Box<dyn FnMut() -> Result<Sample, Failure> + 'a>,
}

impl<'a> Rival<'a> {
    /// Another form of the same kernel.
    pub(super) fn candidate(gpu: &'a Gpu, name: String, kernel: String, of: Candidate) -> Self {
        Self {
            name,
            role: "candidate",
            first: Some(of.first),
            kernel: Some(kernel),
            time: Box::new(move || Ok(of.time(gpu)?)),
        }
    }

    /// A copy of as many bytes; `work` does `repeats` of them, which are one sample. Where processor time is known it is one
    /// processor's, and not divided by their number: no other helps.
    pub(super) fn copy(
        gpu: &'a Gpu,
        name: &str,
        repeats: usize,
        mut work: impl FnMut() -> Result<(), Failure> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            role: "copy",
            first: None,
            kernel: None,
            time: Box::new(move || {
                let sample = clocked(gpu, repeats, &mut work)?;
                let cpu = sample.cpu.map(|s| s * processors() as f64);
                Ok(Sample { cpu, ..sample })
            }),
        }
    }
}

/// Our side.
pub(super) enum Subject {
    Operator(Box<Ours>),
    Model(Box<ModelRun>),
}

impl Subject {
    /// Prepares the work and runs it once; `check` computes a model on the host too.
    pub(super) fn new(gpu: &Gpu, work: &Work, check: bool) -> Result<Self, Failure> {
        Ok(match work {
            Work::Model(w) => Self::Model(Box::new(ModelRun::new(gpu, w, check)?)),
            _ => Self::Operator(Box::new(Ours::new(gpu, work)?)),
        })
    }

    /// One sample.
    pub(super) fn time(&mut self, gpu: &Gpu) -> Result<Sample, Failure> {
        match self {
            Self::Operator(ours) => Ok(ours.candidate.time(gpu)?),
            Self::Model(run) => run.time(gpu),
        }
    }

    /// Seconds to the first result.
    pub(super) fn first(&self) -> f64 {
        match self {
            Self::Operator(ours) => ours.first,
            Self::Model(run) => run.first,
        }
    }

    /// Of our result against the exact one; none where nothing exact was computed.
    pub(super) fn nmse(&self) -> Option<f64> {
        match self {
            Self::Operator(ours) => Some(ours.nmse),
            Self::Model(run) => run.nmse,
        }
    }

    /// Elements that are compared, and their values: exact, or ours for a model.
    pub(super) fn expected(&self) -> (&[usize], &[f64]) {
        match self {
            Self::Operator(ours) => (&ours.at, &ours.expected),
            Self::Model(run) => (&run.at, &run.expected),
        }
    }

    /// Bytes on the device.
    pub(super) fn memory(&self) -> Memory {
        match self {
            Self::Operator(ours) => ours.memory,
            Self::Model(run) => run.memory,
        }
    }

    /// What runs: variants of shaders, or nodes on the host.
    pub(super) fn kernels(&self) -> &[String] {
        match self {
            Self::Operator(ours) => &ours.kernels,
            Self::Model(run) => &run.host_steps,
        }
    }

    /// The slowest nodes of a model.
    pub(super) fn slowest(&mut self, count: usize) -> Result<Vec<Json>, Failure> {
        match self {
            Self::Operator(_) => Ok(vec![]),
            Self::Model(run) => run.slowest(count),
        }
    }
}
