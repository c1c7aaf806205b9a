//! Runs the cases of a bench: each is prepared and checked on every side, then all sides take turns.

use super::html;
use super::peaks::Peaks;
use super::peer::{Peer, Prepared};
use super::report::{CaseReport, Measured, PeerTimes, Report, RivalTimes};
use super::subject::{Rival, Subject};
use super::work::Work;
use super::{compare, ours::TooLarge};
use crate::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::Duration;
use tilewright::Gpu;
use tilewright_benches::{Entrant, Pace, Sample, in_turns, machine};

/// What all benches of cases ask for.
#[derive(clap::Args)]
pub(super) struct Options {
    /// `gpu` (the best adapter), or an adapter's key from `tilewright adapters`.
    #[arg(long, default_value = "gpu", value_name = "gpu|KEY")]
    device: String,
    /// Ask the adapter for default WebGPU limits and no features.
    #[arg(long)]
    default_limits: bool,
    /// Leave the runtime checks of bounds and loops out of shaders (docs/shaders.md says what that gains).
    #[arg(long)]
    trusted: bool,
    /// Seconds to measure each case, all sides together; a fifth as long, and at least 200 ms for each side, warms up before.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// The least number of rounds that count, whatever the time.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// A program that does the same work with another library, and takes turns with ours; a command with its arguments, which
    /// speaks the protocol of benches/peers/README.md. May be repeated.
    #[arg(long = "peer", value_name = "COMMAND")]
    peers: Vec<String>,
    /// Seconds after which a peer that does not answer is given up.
    #[arg(long, default_value_t = 300.0, value_name = "SECONDS")]
    peer_timeout: f64,
    /// Print JSON, with every sample.
    #[arg(long)]
    json: bool,
    /// Write a page with tables and plots, which needs no other file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with a report that --json wrote before; fails where a case became slower beyond noise.
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    judge: compare::Judge,
}

/// The cases of a bench.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) works: Vec<Work>,
    /// What else takes turns.
    pub(super) rivals: Option<for<'a> fn(&'a Gpu, &Work) -> Result<Vec<Rival<'a>>, Failure>>,
    /// Nodes to report of a model.
    pub(super) slowest: usize,
    /// Whether models are computed on the host too.
    pub(super) check: bool,
}

impl Plan {
    /// Checks, measures, reports.
    ///
    /// # Errors
    /// A message: a wrong result names its case, and a comparison names what became slower.
    pub(super) fn run(
        self,
        kind: &'static str,
        gpu: &Gpu,
        options: &Options,
    ) -> Result<(), Failure> {
        let pace = options.pace()?;
        // Before anything takes time.
        let old = options.compare.as_deref().map(compare::read).transpose()?;
        let machine = machine(gpu);
        if let Some(old) = &old {
            options.judge.same_machine(&old["machine"], &machine)?;
        }
        let mut peers = options.start_peers()?;
        let bar = bar(self.works.len())?;
        let mut cases = vec![];
        for (i, work) in self.works.iter().enumerate() {
            bar.set_message(work.name());
            let told = |part: f64| bar.set_position((1000.0 * (i as f64 + part)) as u64);
            cases.push(self.case(gpu, work, &mut peers, pace, told)?);
        }
        let wanted = options.json || options.html.is_some();
        let peaks = wanted.then(|| Peaks::measure(gpu)).transpose()?;
        bar.finish_and_clear();
        peers.iter_mut().for_each(Peer::quit);
        let peers = peers.iter().map(Peer::json).collect();
        let report = Report {
            kind,
            machine,
            pace,
            peers,
            cases,
            peaks,
        };
        finish(&report, old.as_ref(), options)
    }

    /// One case; an error only where nothing after it can be trusted.
    fn case(
        &self,
        gpu: &Gpu,
        work: &Work,
        peers: &mut [Peer],
        pace: Pace,
        told: impl FnMut(f64),
    ) -> Result<CaseReport, Failure> {
        let named = |e: Failure| Failure::from(format!("{}: {e}", work.name()));
        let mut subject = match Subject::new(gpu, work, self.check) {
            Ok(subject) => subject,
            Err(e) if TooLarge::is(&e) => {
                return Ok(CaseReport {
                    work: work.clone(),
                    outcome: Err(e.to_string()),
                });
            }
            Err(e) => return Err(named(e)),
        };
        right(work, subject.nmse())?;
        let rivals = match self.rivals {
            Some(make) => make(gpu, work).map_err(named)?,
            None => vec![],
        };
        let (at, expected) = subject.expected();
        let prepared = peers
            .iter_mut()
            .map(|peer| peer.prepare(work, at, expected))
            .collect();
        let mut measured =
            measure(gpu, &mut subject, rivals, peers, prepared, pace, told).map_err(named)?;
        measured.nodes = subject.slowest(self.slowest).map_err(named)?;
        Ok(CaseReport {
            work: work.clone(),
            outcome: Ok(measured),
        })
    }
}

/// An error for a wrong result.
fn right(work: &Work, nmse: Option<f64>) -> Result<(), Failure> {
    let bound = work.bound();
    match nmse {
        None => Ok(()),
        Some(nmse) if nmse <= bound => Ok(()),
        // Also what is no number.
        Some(nmse) => {
            let what = format!("the result is wrong: NMSE {nmse:.1e}, at most {bound:.0e}");
            Err(format!("{}: {what}", work.name()).into())
        }
    }
}

/// All sides in turns. A peer that fails in the middle has no times.
fn measure(
    gpu: &Gpu,
    subject: &mut Subject,
    mut rivals: Vec<Rival<'_>>,
    peers: &mut [Peer],
    mut prepared: Vec<Result<Prepared, String>>,
    pace: Pace,
    told: impl FnMut(f64),
) -> Result<Measured, Failure> {
    let timed: Vec<bool> = prepared.iter().map(Result::is_ok).collect();
    let (first, nmse, memory) = (subject.first(), subject.nmse(), subject.memory());
    let kernels = subject.kernels().to_vec();
    let mut entrants: Vec<Entrant<'_, Failure>> = vec![Box::new(|| subject.time(gpu).map(Some))];
    for rival in &mut rivals {
        entrants.push(Box::new(|| (rival.time)().map(Some)));
    }
    for (peer, prepared) in peers.iter_mut().zip(&mut prepared) {
        if prepared.is_ok() {
            entrants.push(Box::new(|| Ok(turn(peer, prepared))));
        }
    }
    let warm_up = pace.warm_up.max(WARM_UP * entrants.len() as u32);
    let samples = in_turns(&mut entrants, Pace { warm_up, ..pace }, told)?;
    drop(entrants);
    let mut samples = samples.into_iter();
    let ours = samples.next().unwrap_or_default();
    let rivals = (rivals.into_iter().zip(samples.by_ref()))
        .map(RivalTimes::new)
        .collect();
    let peers = peers
        .iter()
        .zip(prepared)
        .zip(timed)
        .map(|((peer, prepared), timed)| {
            // One that failed while it was timed has samples too, which must not go to the next.
            let own = if timed { samples.next() } else { None };
            let samples = own.unwrap_or_default();
            let times = prepared.map(|p| PeerTimes {
                first: p.first,
                nmse: p.nmse,
                samples,
            });
            (peer.name.clone(), times)
        })
        .collect();
    Ok(Measured {
        first,
        nmse,
        memory,
        kernels,
        samples: ours,
        rivals,
        peers,
        nodes: vec![],
    })
}

/// One sample of a peer; none once it has failed.
fn turn(peer: &mut Peer, prepared: &mut Result<Prepared, String>) -> Option<Sample> {
    if prepared.is_err() {
        return None;
    }
    match peer.time() {
        Ok(sample) => Some(sample),
        Err(why) => {
            *prepared = Err(format!("while timed: {why}"));
            None
        }
    }
}

/// Each side warms up at least so long.
const WARM_UP: Duration = Duration::from_millis(200);

/// Writes and prints; then judges.
fn finish(
    report: &Report,
    old: Option<&serde_json::Value>,
    options: &Options,
) -> Result<(), Failure> {
    let json = report.json();
    if let Some(path) = &options.html {
        std::fs::write(path, html::page(&json))
            .map_err(|e| format!("--html {}: {e}", path.display()))?;
    }
    if options.json {
        crate::say(&serde_json::to_string_pretty(&json)?)?;
    } else {
        crate::say(report.table()?.trim_end())?;
    }
    let verdict = old
        .map(|old| options.judge.verdict(old, &json))
        .transpose()?;
    if let Some(verdict) = &verdict {
        // Standard output is the report's alone.
        match options.json {
            true => eprintln!("{}", verdict.table),
            false => crate::say(&format!("\n{}", verdict.table))?,
        }
    }
    if let Some(CaseReport {
        outcome: Err(why), ..
    }) = report.cases.first()
        && report.cases.iter().all(|c| c.outcome.is_err())
    {
        return Err(format!("no case could be measured: {why}").into());
    }
    verdict.map_or(Ok(()), |verdict| verdict.judge())
}

impl Options {
    /// The adapter.
    pub(super) fn gpu(&self) -> Result<Gpu, Failure> {
        let gpu = crate::device::open(&self.device, self.default_limits, self.trusted)?;
        Ok(gpu.ok_or("a bench needs an adapter")?)
    }

    fn pace(&self) -> Result<Pace, Failure> {
        let budget = seconds("--seconds", self.seconds)?;
        Ok(Pace {
            warm_up: budget / 5,
            budget,
            rounds: usize::try_from(self.rounds)?,
        })
    }

    fn start_peers(&self) -> Result<Vec<Peer>, Failure> {
        let timeout = seconds("--peer-timeout", self.peer_timeout)?;
        let mut peers: Vec<Peer> = vec![];
        for command in &self.peers {
            let mut peer = Peer::start(command, timeout)?;
            // Names tell peers apart.
            let name = peer.name.clone();
            let mut number = 1;
            while peers.iter().any(|p| p.name == peer.name) {
                number += 1;
                peer.name = format!("{name}-{number}");
            }
            peers.push(peer);
        }
        Ok(peers)
    }
}

fn seconds(flag: &str, seconds: f64) -> Result<Duration, Failure> {
    Ok(Duration::try_from_secs_f64(seconds).map_err(|e| format!("{flag} {seconds}: {e}"))?)
}

/// A thousand steps a case, on standard error if that is a terminal.
fn bar(cases: usize) -> Result<ProgressBar, Failure> {
    let style = ProgressStyle::with_template("{bar:40} {percent}% {eta} {msg}")?;
    Ok(ProgressBar::new(1000 * cases as u64).with_style(style))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::work::Gemm;
    use tilewright::DType;

    #[test]
    fn a_wrong_result_names_its_case() {
        let (m, n, k, batch, dtype) = (2, 3, 4, 1, DType::F32);
        let work = Work::Gemm(Gemm {
            m,
            n,
            k,
            batch,
            dtype,
        });
        assert!(right(&work, Some(1e-12)).is_ok());
        assert!(right(&work, None).is_ok());
        for wrong in [1e-3, f64::NAN, f64::INFINITY] {
            let error = right(&work, Some(wrong)).unwrap_err().to_string();
            assert!(
                error.starts_with("2x3x4: the result is wrong: NMSE"),
                "{error}"
            );
        }
    }
}
