//! One operator on the device, against its reference.

use super::Tester;
use crate::derived::Derived;
use crate::op::Case;
use crate::stage::Schedule;
use crate::{Bindings, Error, Fact, Graph, Model, ModelOptions, Result, Session, bind, passes};
use std::borrow::Cow;
use tilewright_device::{Caps, Error as DeviceError, Gpu, Variant};
use tilewright_kernels::{Choices, Chosen};
use tilewright_tensor::{HostTensor, nmse};

/// A case, and which of its operator's outputs somebody reads.
pub(super) struct Probe<'a> {
    pub(super) case: Cow<'a, Case>,
    /// One for each output that the node has; empty for all that there are.
    pub(super) read: Vec<bool>,
    /// A rounding that falls on the other side changes an element by a whole step: a few may differ.
    pub(super) steps: bool,
}

/// Elements of a thousand that a rounding may change.
const STEPS_PER_MILLE: usize = 2;

/// What a probe's plan is made of.
pub(super) struct Parts {
    pub(super) variants: Vec<Variant>,
    pub(super) chosen: Vec<Chosen>,
}

impl<'a> Probe<'a> {
    /// One of the operator's own cases.
    pub(super) fn of(case: &'a Case) -> Probe<'a> {
        Probe {
            case: Cow::Borrowed(case),
            read: vec![],
            steps: false,
        }
    }

    /// The operator between inputs and outputs.
    fn graph(&self, outputs: usize) -> Result<Graph> {
        let mut graph = Graph::new();
        let mut inputs = vec![];
        for (i, t) in self.case.inputs.iter().enumerate() {
            inputs.push(match t {
                None => None,
                Some(t) if self.case.constant.contains(&i) => Some(graph.constant(t.clone())),
                Some(t) => {
                    let fact = Fact::sized(t.dtype(), t.shape());
                    Some(graph.input(&format!("x{i}"), Some(fact))?)
                }
            });
        }
        let count = self.read.len().max(outputs);
        let values = graph.add_node(self.case.op.clone(), &inputs, "probe", count)?;
        for (i, v) in values.iter().enumerate().take(outputs) {
            if self.reads(i) {
                graph.output(&format!("y{i}"), *v);
            }
        }
        Ok(graph)
    }

    fn reads(&self, output: usize) -> bool {
        self.read.get(output).copied().unwrap_or(true)
    }

    /// What it would run; none where nothing of it runs on the device, or shapes come from data.
    pub(super) fn parts(&self, caps: &Caps, choices: &Choices) -> Option<Parts> {
        let inputs: Vec<Option<Fact>> = (self.case.inputs.iter())
            .map(|t| t.as_ref().map(|t| Fact::sized(t.dtype(), t.shape())))
            .collect();
        let facts: Vec<Option<&Fact>> = inputs.iter().map(Option::as_ref).collect();
        // Values of constants may be needed; then the outputs are counted by the reference.
        let outputs = match self.case.op.infer(&facts) {
            Ok(outputs) => outputs.len(),
            Err(_) => self.expected().ok()?.len(),
        };
        let graph = passes::device(&self.graph(outputs).ok()?, caps).ok()?;
        let schedule = Schedule::new(&graph, Some(caps)).ok()?;
        let (sizes, derived) = (Bindings::default(), Derived::default());
        let plan = bind::bind_with(&graph, &schedule, &sizes, (caps, choices), &derived).ok()?;
        let variants: Vec<Variant> = plan.dispatches().map(|d| d.variant.clone()).collect();
        let chosen = plan.steps().flat_map(|s| s.chosen.clone()).collect();
        (!variants.is_empty()).then_some(Parts { variants, chosen })
    }

    fn expected(&self) -> Result<Vec<HostTensor>> {
        let args: Vec<Option<&HostTensor>> = self.case.inputs.iter().map(Option::as_ref).collect();
        self.case.op.reference(&args)
    }

    /// Runs it. What is wrong with the result, if anything is.
    ///
    /// # Errors
    /// What says nothing about the variants: a lost device, no memory.
    pub(super) async fn run(
        &self,
        gpu: &Gpu,
        choices: &Choices,
        chosen: &[Chosen],
        tester: &Tester,
    ) -> Result<Option<String>> {
        let expected = self.expected()?;
        let graph = self.graph(expected.len())?;
        let model = Model::with_choices(graph, gpu, ModelOptions::default(), choices.clone());
        let mut session = Session::new(&model)?;
        let names: Vec<String> = (0..self.case.inputs.len())
            .map(|i| format!("x{i}"))
            .collect();
        let fed = self.case.inputs.iter().zip(&names).enumerate();
        let fed: Vec<(&str, HostTensor)> = fed
            .filter(|(i, _)| !self.case.constant.contains(i))
            .filter_map(|(_, (t, name))| Some((name.as_str(), t.clone()?)))
            .collect();
        let outputs = match session.run(&fed).await {
            Ok(outputs) => outputs.into_iter().map(|(_, t)| t).collect(),
            Err(e) => return refused(e).map(Some),
        };
        let outputs = match &tester.observe {
            Some(observe) => observe(chosen, outputs),
            None => outputs,
        };
        let read = expected.iter().enumerate().filter(|(i, _)| self.reads(*i));
        let pairs = read.map(|(_, want)| want).zip(&outputs).enumerate();
        Ok(pairs
            .map(|(i, (want, got))| Some(format!("output {i}: {}", self.differs(got, want)?)))
            .find_map(|wrong| wrong))
    }

    /// How a result differs from what it should be.
    fn differs(&self, got: &HostTensor, want: &HostTensor) -> Option<String> {
        if got.shape() != want.shape() || got.dtype() != want.dtype() {
            let (g, w) = (got.dtype(), want.dtype());
            let (gs, ws) = (got.shape(), want.shape());
            return Some(format!("{g}{gs} instead of {w}{ws}"));
        }
        let wrong = if want.dtype().is_float() {
            // f16 results are rounded once more.
            let bound = match want.dtype().bits() {
                16 => self.case.nmse.max(1e-6),
                _ => self.case.nmse,
            };
            let error = nmse(got, want).unwrap_or(f64::INFINITY);
            (error.is_nan() || error > bound).then(|| {
                format!("a normalised error of {error:.1e}, at most {bound:.0e} is rounding")
            })
        } else {
            (got != want).then(|| "other integers".to_owned())
        };
        wrong.filter(|_| !(self.steps && few_differ(got, want)))
    }
}

/// Whether only so many elements differ as roundings may change.
fn few_differ(got: &HostTensor, want: &HostTensor) -> bool {
    let (got, want) = (got.to_f64(), want.to_f64());
    let scale = want.iter().filter(|w| w.is_finite()).map(|w| w.abs());
    let scale = scale.fold(0.0, f64::max);
    let differs = |(g, w): &(&f64, &f64)| {
        let close = (**g - **w).abs() <= 1e-4 * scale || (g.is_nan() && w.is_nan());
        !(g == w || close)
    };
    let count = got.iter().zip(&want).filter(differs).count();
    count * 1000 <= STEPS_PER_MILLE * want.len()
}

/// The text of an error that is the variant's own; the others are passed on.
fn refused(error: Error) -> Result<String> {
    match error {
        Error::Device(e @ (DeviceError::Shader { .. } | DeviceError::Validation { .. })) => {
            Ok(format!("the device refuses it: {e}"))
        }
        Error::Device(e @ DeviceError::TooLarge { .. }) => Ok(format!("over a limit: {e}")),
        other => Err(other),
    }
}
