//! What a run has asked for so far, against its limits.

use crate::{Bindings, Error, Fact, Op, Result, RunLimits};
use tilewright_device::{CancelToken, Error as DeviceError, SubmitOptions};
use tilewright_tensor::HostTensor;
use web_time::Instant;

/// The limits of a run that has begun, and what is held while a part of it runs.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    limits: RunLimits,
    began: Instant,
    held: u64,
    cancel: Option<CancelToken>,
}

impl Meter {
    /// For a run that begins now.
    pub(crate) fn new(limits: RunLimits) -> Meter {
        Meter {
            limits,
            began: Instant::now(),
            held: 0,
            cancel: None,
        }
    }

    /// The same for a run that this token ends too.
    pub(crate) fn cancelled_by(self, cancel: Option<CancelToken>) -> Meter {
        Meter { cancel, ..self }
    }

    pub(crate) fn limits(&self) -> &RunLimits {
        &self.limits
    }

    /// For a part of the run, while `bytes` more are held.
    pub(crate) fn holding(&self, bytes: u64) -> Meter {
        Meter {
            held: self.held.saturating_add(bytes),
            ..self.clone()
        }
    }

    /// An error when the run was cancelled, or its time is over.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.cancel {
            Some(token) if token.is_cancelled() => Err(DeviceError::Cancelled.into()),
            _ => self.time(),
        }
    }

    fn time(&self) -> Result<()> {
        let most = self.limits.wall_time;
        if self.began.elapsed() > most {
            return Err(Error::Limit {
                what: "the time of the run in milliseconds".into(),
                limit: most.as_millis() as u64,
            });
        }
        Ok(())
    }

    /// These options with the end of the run's time as deadline.
    pub(crate) fn until(&self, options: &SubmitOptions) -> SubmitOptions {
        match self.began.checked_add(self.limits.wall_time) {
            Some(end) => options.clone().deadline(end),
            None => options.clone(),
        }
    }

    /// The error of a submission: the limit where that is why it ended.
    pub(crate) fn ended(&self, error: DeviceError) -> Error {
        match (&error, self.time()) {
            (DeviceError::Deadline, Err(over)) => over,
            _ => error.into(),
        }
    }

    /// The outputs of a node by its reference; an error where they are too large or take too many steps.
    pub(crate) fn reference(
        &self,
        op: &Op,
        args: &[Option<&HostTensor>],
    ) -> Result<Vec<HostTensor>> {
        let facts: Vec<Option<Fact>> = args.iter().map(|t| t.cloned().map(Fact::of)).collect();
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let outputs = match op.infer(&facts) {
            Ok(outputs) => outputs,
            // Data decide; there are not many more elements than in the inputs.
            Err(e) if e.is_late() => vec![],
            Err(e) => return Err(e),
        };
        let plain = |fact: &&Fact| fact.shape.iter().all(|d| d.known().is_some());
        for fact in outputs.iter().filter(plain) {
            fact.bind(&Bindings::default())?;
        }
        let bytes = outputs
            .iter()
            .fold(self.held, |sum, fact| sum.saturating_add(fact.bytes()));
        if bytes > self.limits.memory {
            return Err(Error::Limit {
                what: format!("{bytes} bytes of activations on the host"),
                limit: self.limits.memory,
            });
        }
        let work = op.work(&facts, &outputs);
        if work > self.limits.work {
            return Err(Error::Limit {
                what: format!("{work} steps on the host"),
                limit: self.limits.work,
            });
        }
        match nothing(&outputs) {
            true => empty(&outputs),
            false => op.reference(args),
        }
    }
}

/// True for outputs without elements: no reference has to think of them.
pub(crate) fn nothing(outputs: &[Fact]) -> bool {
    !outputs.is_empty() && outputs.iter().all(|fact| fact.count() == 0)
}

/// Outputs without elements.
pub(crate) fn empty(outputs: &[Fact]) -> Result<Vec<HostTensor>> {
    let empty = |fact: &Fact| {
        let shape = fact.bind(&Bindings::default())?;
        Ok(HostTensor::zeros(fact.dtype, shape)?)
    };
    outputs.iter().map(empty).collect()
}
