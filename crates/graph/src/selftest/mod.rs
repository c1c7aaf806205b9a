//! Self-test: kernels on the user's driver against plain loops on the host.
//!
//! A plan's variants are tested through the nodes that use them: the operator with its attributes runs on small random tensors
//! (two tiles where that is quick, with ragged edges), with the loop that the plan uses, and its result is compared with its
//! reference. What these probes do not reach is looked for in the operator's own cases, and listed as unchecked where it is not
//! there either.

mod probe;
mod products;
mod shrink;

use crate::compiled::Compiled;
use crate::op::Case;
use crate::plan::{Plan, Step};
use crate::{Bindings, Error, Graph, Model, Op, Result};
use probe::{Parts, Probe};
use std::collections::{HashMap, HashSet};
use std::fmt;
use tilewright_device::{Gpu, Variant};
use tilewright_kernels::{Choices, Chosen, Class, Loop};
use tilewright_tensor::HostTensor;

/// A probe whose result was wrong, or that the device refused.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// The operator.
    pub op: String,
    /// Its case.
    pub case: String,
    /// What is wrong.
    pub what: String,
    /// The variants that it ran and that no other probe has shown to be right.
    pub variants: Vec<Variant>,
    /// The loops that are not used any more. Empty where there is no other way to compute it.
    pub quarantined: Vec<(Class, Loop)>,
}

/// What a self-test found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Variants with a right result, by what they are.
    pub right: Vec<Variant>,
    /// Probes with a wrong one.
    pub wrong: Vec<Wrong>,
    /// Variants that no probe runs, each with an operator that uses it.
    pub unchecked: Vec<(String, Variant)>,
}

impl Report {
    /// Wrong results that no other loop computes right.
    pub fn hopeless(&self) -> Option<&Wrong> {
        self.wrong.iter().find(|w| w.quarantined.is_empty())
    }

    fn add(&mut self, other: Report) {
        self.right.extend(other.right);
        self.wrong.extend(other.wrong);
        // What is unchecked is asked of the last plan alone.
        self.unchecked = other.unchecked;
    }
}

/// Sees what a probe computed with its loops, before it is judged; what it gives back is judged instead.
type Observe = dyn Fn(&[Chosen], Vec<HostTensor>) -> Vec<HostTensor> + Send + Sync;

/// Tests variants, each once.
#[derive(Default)]
pub struct Tester {
    right: HashSet<Variant>,
    cases: Vec<Case>,
    bounds: HashMap<&'static str, f64>,
    observe: Option<Box<Observe>>,
}

impl Tester {
    /// Nothing is tested yet.
    pub fn new() -> Tester {
        Tester::default()
    }

    /// Calls `observe` with the loops and the result of every probe; what it gives back is judged. So a test can play a driver
    /// that computes something else.
    #[must_use]
    pub fn observing(
        mut self,
        observe: impl Fn(&[Chosen], Vec<HostTensor>) -> Vec<HostTensor> + Send + Sync + 'static,
    ) -> Tester {
        self.observe = Some(Box::new(observe));
        self
    }

    /// Takes over what another found right.
    pub(crate) fn knowing(right: HashSet<Variant>) -> Tester {
        Tester {
            right,
            ..Tester::default()
        }
    }

    pub(crate) fn into_right(self) -> HashSet<Variant> {
        self.right
    }

    fn is_known(&self, variant: &Variant) -> bool {
        self.right.contains(variant)
    }

    /// [`Tester::operators`] and [`Tester::products`].
    ///
    /// # Errors
    /// Those of the device that say nothing about a variant: it is lost, or has no memory.
    pub async fn everything(
        &mut self,
        gpu: &Gpu,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Report> {
        let mut report = self.operators(gpu, &mut progress).await?;
        report.add(self.products(gpu, progress).await?);
        Ok(report)
    }

    /// Every operator's cases. `progress` is told how many of how many are done.
    ///
    /// # Errors
    /// As [`Tester::everything`].
    pub async fn operators(
        &mut self,
        gpu: &Gpu,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Report> {
        self.load_cases();
        let cases = std::mem::take(&mut self.cases);
        let (mut report, default) = (Report::default(), Choices::new());
        for (done, case) in cases.iter().enumerate() {
            progress(done, cases.len());
            let probe = Probe::of(case);
            self.probe(gpu, &probe, &default, &mut report).await?;
        }
        self.cases = cases;
        Ok(report)
    }

    /// Products larger than a tile, with every loop that the adapter has. `progress` is told how many of how many are done.
    ///
    /// # Errors
    /// As [`Tester::everything`].
    pub async fn products(
        &mut self,
        gpu: &Gpu,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Report> {
        let (cases, loops) = (products::cases(), products::loops(gpu.caps()));
        let (mut report, mut done) = (Report::default(), 0);
        for case in &cases {
            for &of in &loops {
                progress(done, cases.len() * loops.len());
                let choices = Choices::new().only(of);
                let probe = Probe::of(case);
                self.probe(gpu, &probe, &choices, &mut report).await?;
                done += 1;
            }
        }
        Ok(report)
    }

    /// Runs a probe that has a variant which is not known to be right.
    async fn probe(
        &mut self,
        gpu: &Gpu,
        probe: &Probe<'_>,
        choices: &Choices,
        report: &mut Report,
    ) -> Result<()> {
        if let Some(parts) = probe.parts(gpu.caps(), choices)
            && !parts.variants.iter().all(|v| self.is_known(v))
        {
            self.judge(gpu, probe, choices, parts, report).await?;
        }
        Ok(())
    }

    /// Runs a probe, and notes what became of it; true if it was right.
    async fn judge(
        &mut self,
        gpu: &Gpu,
        probe: &Probe<'_>,
        choices: &Choices,
        parts: Parts,
        report: &mut Report,
    ) -> Result<bool> {
        let Parts { variants, chosen } = parts;
        let what = probe.run(gpu, choices, &chosen, self).await?;
        let new = variants.into_iter().filter(|v| !self.is_known(v));
        let mut new: Vec<Variant> = new.collect();
        let mut seen = HashSet::new();
        new.retain(|v| seen.insert(v.clone()));
        let Some(what) = what else {
            report.right.extend(new.iter().cloned());
            self.right.extend(new);
            return Ok(true);
        };
        report.wrong.push(Wrong {
            op: probe.case.op.name().to_owned(),
            case: probe.case.name.clone(),
            what,
            variants: new,
            quarantined: (chosen.into_iter()).map(|c| (c.site.class, c.of)).collect(),
        });
        Ok(false)
    }

    fn load_cases(&mut self) {
        if self.cases.is_empty() {
            self.cases = Op::cases();
            for case in &self.cases {
                let bound = self.bounds.entry(case.op.name()).or_insert(case.nmse);
                *bound = bound.max(case.nmse);
            }
        }
    }

    /// The variants of a plan of `graph` for these sizes.
    async fn plan(
        &mut self,
        gpu: &Gpu,
        graph: &Graph,
        bindings: &Bindings,
        plan: &Plan,
    ) -> Result<Report> {
        let steps: Vec<&Step> = plan.steps().collect();
        self.steps(gpu, graph, bindings, &steps).await
    }

    /// The variants of these steps of one.
    pub(crate) async fn steps(
        &mut self,
        gpu: &Gpu,
        graph: &Graph,
        bindings: &Bindings,
        steps: &[&Step],
    ) -> Result<Report> {
        let (mut report, mut blamed) = (Report::default(), HashSet::new());
        for step in steps {
            let tested = |v: &Variant| self.is_known(v) || blamed.contains(v);
            if step.dispatches.iter().all(|d| tested(&d.variant)) {
                continue;
            }
            self.load_cases();
            self.step(gpu, graph, bindings, step, &mut report).await?;
            blamed.extend(report.wrong.iter().flat_map(|w| w.variants.clone()));
        }
        let mut listed = HashSet::new();
        for step in steps {
            let op = graph.nodes()[step.node as usize].op.name();
            for variant in step.dispatches.iter().map(|d| &d.variant) {
                let tested = self.is_known(variant) || blamed.contains(variant);
                if !tested && listed.insert(variant.clone()) {
                    report.unchecked.push((op.to_owned(), variant.clone()));
                }
            }
        }
        Ok(report)
    }

    /// The variants of a node: by the node itself made smaller, then by its operator's cases.
    async fn step(
        &mut self,
        gpu: &Gpu,
        graph: &Graph,
        bindings: &Bindings,
        step: &Step,
        report: &mut Report,
    ) -> Result<()> {
        let op = &graph.nodes()[step.node as usize].op;
        let mut loops: Vec<Option<Loop>> = step.chosen.iter().map(|c| Some(c.of)).collect();
        loops.sort();
        loops.dedup();
        if loops.is_empty() {
            loops.push(None);
        }
        let mut wanted: HashSet<&Variant> = (step.dispatches.iter().map(|d| &d.variant))
            .filter(|v| !self.is_known(v))
            .collect();
        let bound = self.bounds.get(op.name()).copied().unwrap_or(1e-10);
        let mut small = shrink::probes(graph, step.node, bindings)?;
        for probe in &mut small {
            probe.case.to_mut().nmse = bound;
        }
        let cases = std::mem::take(&mut self.cases);
        let own = cases.iter().filter(|c| c.op.name() == op.name());
        let probes: Vec<Probe<'_>> = small.into_iter().chain(own.map(Probe::of)).collect();
        let mut failed = Ok(());
        'probes: for probe in &probes {
            for of in &loops {
                if wanted.is_empty() {
                    break 'probes;
                }
                let choices = of.map_or_else(Choices::new, |of| Choices::new().only(of));
                let Some(parts) = probe.parts(gpu.caps(), &choices) else {
                    continue;
                };
                if !parts.variants.iter().any(|v| wanted.contains(v)) {
                    continue;
                }
                for variant in &parts.variants {
                    wanted.remove(variant);
                }
                if let Err(e) = self.judge(gpu, probe, &choices, parts, report).await {
                    failed = Err(e);
                    break 'probes;
                }
            }
        }
        self.cases = cases;
        failed
    }
}

/// Tests the newest plan of `compiled`, and plans again without the loops that are wrong until none is.
///
/// # Errors
/// As [`Tester::everything`], and those of planning: [`tilewright_kernels::Error::Quarantined`] where no loop is left.
pub(crate) async fn settle(
    tester: &mut Tester,
    model: &Model,
    compiled: &mut Compiled,
    bindings: &Bindings,
) -> Result<Report> {
    let mut report = Report::default();
    let Some(gpu) = model.gpu() else {
        return Ok(report);
    };
    loop {
        let Some(bound) = compiled.bound.first() else {
            return Ok(report);
        };
        let found = (tester.plan(gpu, &compiled.graph, bindings, &bound.plan)).await?;
        let again = model.quarantine(&found.wrong);
        report.add(found);
        if !again {
            return Ok(report);
        }
        compiled.bound.remove(0);
        compiled.bind(model, bindings)?;
    }
}

/// The error of a plan with variants that are wrong, where nothing else computes them.
pub(crate) fn refuse(report: &Report) -> Result<()> {
    match report.hopeless() {
        Some(wrong) => Err(Error::SelfTest {
            wrong: wrong.to_string(),
        }),
        None => Ok(()),
    }
}

/// `MatMul (case): what; quarantined ..`
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.op, self.case, self.what)?;
        for (class, of) in &self.quarantined {
            write!(f, "; `{of}` is not used any more for {class}")?;
        }
        if self.quarantined.is_empty() {
            for variant in &self.variants {
                write!(f, "; {variant}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Tester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tester")
            .field("right", &self.right.len())
            .finish_non_exhaustive()
    }
}
