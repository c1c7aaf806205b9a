//! The tuner: times every loop that the products of a plan could take, and keeps the winners.

mod stand;

use crate::bind::bind_with;
use crate::compiled::Compiled;
use crate::plan::{Plan, Step};
use crate::selftest::Tester;
use crate::session::Session;
use crate::{Bindings, Error, Result};
use stand::Stand;
use std::collections::BTreeMap;
use std::time::Duration;
use tilewright_device::{CancelToken, Dispatch, Error as DeviceError, Gpu};
use tilewright_kernels::{Choices, Loop, Site, Tuning};

/// How to tune. Every loop's result is compared before it is timed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tuner {
    /// Bytes that the operands of one product may take; larger products are skipped.
    pub memory: u64,
    /// Samples of each loop; medians and least times are compared.
    pub rounds: usize,
    /// Least duration of a sample: a loop runs as often as that takes, so that clocks and submissions do not count.
    pub sample: Duration,
    /// How much faster than the default a loop must be to take its place; less is taken for noise.
    pub margin: f64,
    /// Ends tuning between samples with [`DeviceError::Cancelled`].
    pub cancel: Option<CancelToken>,
}

impl Default for Tuner {
    /// 256 MiB, 7 samples of 20 ms, 3%.
    fn default() -> Self {
        Tuner {
            memory: 256 << 20,
            rounds: 7,
            sample: Duration::from_millis(20),
            margin: 0.03,
            cancel: None,
        }
    }
}

/// A bucket of products, and what its loops take.
#[derive(Clone, Debug)]
pub struct Row {
    /// The largest product of the bucket in the plan: what was timed.
    pub site: Site,
    /// How many products of the plan are in the bucket.
    pub count: usize,
    /// The deterministic choice.
    pub default: Loop,
    /// The loop to take.
    pub winner: Loop,
    /// Seconds of one product: medians. The default is the first.
    pub times: Vec<(Loop, f64)>,
    /// What was not timed, and why.
    pub skipped: Vec<(Loop, String)>,
}

impl Row {
    fn seconds(&self, of: Loop) -> f64 {
        let found = self.times.iter().find(|t| t.0 == of);
        found.map_or(0.0, |t| t.1)
    }

    /// Time of the default over that of the winner.
    pub fn ratio(&self) -> f64 {
        match self.seconds(self.winner) {
            0.0 => 1.0,
            winner => self.seconds(self.default) / winner,
        }
    }
}

/// What tuning found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The winners, for a file and for [`crate::Model::with_choices`].
    pub tuning: Tuning,
    /// Buckets with more than one loop.
    pub rows: Vec<Row>,
    /// Products whose only loop is the default.
    pub alone: usize,
}

impl Report {
    /// Seconds of all timed products with default and with tuned loops, each product taken as long as its bucket's largest.
    pub fn totals(&self) -> [f64; 2] {
        let total = |of: fn(&Row) -> Loop| {
            let rows = self.rows.iter();
            rows.map(|row| row.count as f64 * row.seconds(of(row)))
                .sum()
        };
        [total(|row| row.default), total(|row| row.winner)]
    }
}

/// A bucket while it waits.
struct Bucket {
    site: Site,
    count: usize,
    /// Index among the plan's steps, and among the step's choices.
    at: (usize, usize),
    candidates: Vec<Loop>,
}

impl Tuner {
    /// The defaults.
    pub fn new() -> Tuner {
        Tuner::default()
    }

    /// Tunes the products of the session's plan for inputs of these shapes; `progress` is told how many buckets of how many are
    /// done. Loops that give a wrong result are quarantined in the session's model. Parts whose shapes depend on values are not
    /// tuned, and neither are bodies of control flow.
    ///
    /// # Errors
    /// Those of [`Session::prepare`], cancellation, and a device that fails otherwise than by one loop.
    pub async fn tune(
        &self,
        session: &mut Session,
        shapes: &[(&str, &[usize])],
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Report> {
        let bindings = session.planned(shapes).await?;
        let (model, compiled) = session.parts();
        let Some(gpu) = model.gpu() else {
            return Err(Error::Graph("a model on the host has no loops".into()));
        };
        let mut on = On {
            tuner: self,
            gpu,
            session,
            compiled,
            bindings: &bindings,
            tester: Tester::knowing(model.right()),
        };
        let plan = on.plan(None)?;
        let (buckets, alone) = buckets(&plan);
        let info = gpu.info();
        let mut tuning = Tuning::new(&info.key, &info.driver);
        let (mut rows, total) = (vec![], buckets.len());
        for bucket in buckets {
            progress(rows.len(), total);
            let row = on.bucket(&bucket).await?;
            if row.times.len() > 1 {
                tuning.set(&row.site, row.winner, row.ratio());
            }
            rows.push(row);
        }
        progress(total, total);
        Ok(Report {
            tuning,
            rows,
            alone,
        })
    }
}

/// The buckets of a plan with more than one candidate, and how many products have one alone.
fn buckets(plan: &Plan) -> (Vec<Bucket>, usize) {
    let (mut found, mut alone): (BTreeMap<Site, Bucket>, _) = (BTreeMap::new(), 0);
    for (i, step) in plan.steps().enumerate() {
        for (j, chosen) in step.chosen.iter().enumerate() {
            if chosen.candidates.len() < 2 {
                alone += 1;
                continue;
            }
            let new = || Bucket {
                site: chosen.site.clone(),
                count: 0,
                at: (i, j),
                candidates: chosen.candidates.clone(),
            };
            let bucket = found.entry(chosen.site.bucket()).or_insert_with(new);
            bucket.count += 1;
            let work = |s: &Site| s.m as f64 * s.n as f64 * s.k as f64 * s.batches as f64;
            if work(&chosen.site) > work(&bucket.site) {
                let count = bucket.count;
                *bucket = Bucket { count, ..new() };
            }
        }
    }
    (found.into_values().collect(), alone)
}

/// What tuning runs on.
struct On<'a> {
    tuner: &'a Tuner,
    gpu: &'a Gpu,
    session: &'a Session,
    compiled: &'a Compiled,
    bindings: &'a Bindings,
    tester: Tester,
}

impl On<'_> {
    /// The plan with default loops, but for the bucket of one site.
    fn plan(&self, tuned: Option<(&Site, Loop)>) -> Result<Plan> {
        let model = self.session.model();
        let mut choices = Choices::new();
        choices.learn(&model.choices());
        if let Some((site, of)) = tuned {
            choices.tune(site, of);
        }
        let Compiled {
            graph, schedule, ..
        } = self.compiled;
        let on = (self.gpu.caps(), &choices);
        bind_with(graph, schedule, self.bindings, on, model.derived())
    }

    async fn bucket(&mut self, bucket: &Bucket) -> Result<Row> {
        let mut row = Row {
            site: bucket.site.clone(),
            count: bucket.count,
            default: bucket.candidates[0],
            winner: bucket.candidates[0],
            times: vec![],
            skipped: vec![],
        };
        let mut plans: Vec<(Loop, Plan)> = vec![];
        for &of in &bucket.candidates {
            let plan = self.plan(Some((&bucket.site, of)))?;
            match self.examine(bucket, of, &plan).await? {
                None => plans.push((of, plan)),
                Some(why) => row.skipped.push((of, why)),
            }
        }
        let Some((first, _)) = plans.first() else {
            return Ok(row);
        };
        (row.default, row.winner) = (*first, *first);
        let steps: Vec<&Step> = plans.iter().filter_map(|p| step(bucket, &p.1)).collect();
        let lists = own(&steps);
        let mut stand = Stand::new(self.gpu, &bucket.site, self.tuner);
        let bytes = stand.lay_out(&plans, &lists);
        if bytes > self.tuner.memory {
            let why = format!("{bytes} bytes of operands, at most {}", self.tuner.memory);
            row.skipped.extend(plans.iter().map(|p| (p.0, why.clone())));
            return Ok(row);
        }
        let weight = |w: &crate::Weight| self.session.model().weight(self.gpu, w);
        for ((of, plan), list) in plans.iter().zip(&lists) {
            if let Some(why) = stand.add(*of, plan, list, weight).await? {
                row.skipped.push((*of, why));
            }
        }
        let times = stand.time().await?;
        if let Some((first, _)) = times.first() {
            row.default = *first;
            row.winner = winner(&times, self.tuner.margin).unwrap_or(*first);
        }
        row.times = times.into_iter().map(|(of, [m, _])| (of, m)).collect();
        Ok(row)
    }

    /// Tests the bucket's node in a candidate's plan against its reference. Why the candidate cannot be taken, if so.
    async fn examine(&mut self, bucket: &Bucket, of: Loop, plan: &Plan) -> Result<Option<String>> {
        let Some(step) = step(bucket, plan) else {
            return Ok(Some("no such step in its plan".into()));
        };
        if step.chosen.get(bucket.at.1).map(|c| c.of) != Some(of) {
            return Ok(Some("it cannot compute this size".into()));
        }
        let graph = &self.compiled.graph;
        let steps = [step];
        let found = self.tester.steps(self.gpu, graph, self.bindings, &steps);
        let found = found.await?;
        let model = self.session.model();
        model.quarantine(&found.wrong);
        Ok(found.wrong.first().map(|wrong| wrong.what.clone()))
    }
}

fn step<'p>(bucket: &Bucket, plan: &'p Plan) -> Option<&'p Step> {
    plan.steps().nth(bucket.at.0)
}

/// What each candidate runs of its step: the dispatches in which they differ, or all where one needs more of them.
fn own<'p>(steps: &[&'p Step]) -> Vec<Vec<&'p Dispatch>> {
    let all = |s: &&'p Step| s.dispatches.iter().collect::<Vec<_>>();
    let lists: Vec<Vec<&Dispatch>> = steps.iter().map(all).collect();
    let count = lists.first().map_or(0, Vec::len);
    if lists.len() < 2 || lists.iter().any(|l| l.len() != count) {
        return lists;
    }
    let differs = |i: &usize| lists.iter().any(|l| l[*i].variant != lists[0][*i].variant);
    let at: Vec<usize> = (0..count).filter(differs).collect();
    let pick = |l: &Vec<&'p Dispatch>| at.iter().map(|&i| l[i]).collect();
    lists.iter().map(pick).collect()
}

/// The loop of the least median, where both its median and its least time are below those of the default (the first) by more than
/// the margin: other work on the machine disturbs one of them sooner than both.
fn winner(times: &[(Loop, [f64; 2])], margin: f64) -> Option<Loop> {
    let (default, slow) = times.first()?;
    let (best, fast) = times.iter().min_by(|a, b| a.1[0].total_cmp(&b.1[0]))?;
    let faster = |at: usize| fast[at] * (1.0 + margin) < slow[at];
    Some(if faster(0) && faster(1) {
        *best
    } else {
        *default
    })
}

/// Whether an error is one variant's own.
fn is_own(error: &DeviceError) -> bool {
    matches!(
        error,
        DeviceError::Shader { .. } | DeviceError::Validation { .. } | DeviceError::TooLarge { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilewright_device::Caps;
    use tilewright_kernels::candidates;

    #[test]
    fn only_a_clear_winner_takes_the_place_of_the_default() {
        let all = candidates(&Caps::software(8), 512, 512, 512, 1);
        let times = |of: [f64; 3]| {
            let both = of.map(|t| [t, t]);
            all.iter().copied().zip(both).collect::<Vec<_>>()
        };
        let mut disturbed = times([1.0, 0.5, 2.0]);
        disturbed[1].1[1] = 1.0;
        assert_eq!(winner(&disturbed, 0.03), Some(all[0]));
        assert_eq!(winner(&times([1.0, 0.9, 0.8]), 0.03), Some(all[2]));
        assert_eq!(winner(&times([1.0, 0.98, 2.0]), 0.03), Some(all[0]));
        assert_eq!(winner(&times([1.0, 1.1, 1.2]), 0.03), Some(all[0]));
        assert_eq!(winner(&[], 0.03), None);
    }
}
