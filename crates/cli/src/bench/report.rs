//! What was measured, for people and for scripts.

use super::data::SAMPLES;
use super::ours::Memory;
use super::peaks::Peaks;
use super::subject::Rival;
use super::work::Work;
use crate::Failure;
use serde_json::{Value as Json, json};
use std::fmt::Write;
use tilewright_benches::{Pace, Samples};

/// A bench with everything that it measured.
pub(super) struct Report {
    pub(super) kind: &'static str,
    pub(super) machine: Json,
    pub(super) pace: Pace,
    pub(super) peers: Vec<Json>,
    pub(super) cases: Vec<CaseReport>,
    pub(super) peaks: Option<Peaks>,
}

/// A case, or why this adapter has no room for it.
pub(super) struct CaseReport {
    pub(super) work: Work,
    pub(super) outcome: Result<Measured, String>,
}

/// All sides of a case.
pub(super) struct Measured {
    pub(super) first: f64,
    pub(super) nmse: Option<f64>,
    pub(super) memory: Memory,
    pub(super) kernels: Vec<String>,
    pub(super) samples: Samples,
    pub(super) rivals: Vec<RivalTimes>,
    /// By name: times, or why there are none.
    pub(super) peers: Vec<(String, Result<PeerTimes, String>)>,
    pub(super) nodes: Vec<Json>,
}

/// What took turns and is no peer.
pub(super) struct RivalTimes {
    pub(super) name: String,
    pub(super) role: &'static str,
    pub(super) first: Option<f64>,
    kernel: Option<String>,
    pub(super) samples: Samples,
}

impl RivalTimes {
    pub(super) fn new((rival, samples): (Rival<'_>, Samples)) -> Self {
        let Rival {
            name,
            role,
            first,
            kernel,
            ..
        } = rival;
        Self {
            name,
            role,
            first,
            kernel,
            samples,
        }
    }
}

/// A peer's side.
pub(super) struct PeerTimes {
    pub(super) first: Option<f64>,
    pub(super) nmse: f64,
    pub(super) samples: Samples,
}

impl Measured {
    /// Whether a candidate is what the engine takes by itself.
    fn is_default(&self, of: &RivalTimes) -> bool {
        of.kernel
            .as_ref()
            .is_some_and(|k| self.kernels == [k.clone()])
    }

    /// The default's time over that of the fastest candidate, itself included; none where no candidates were timed. Its time
    /// is that of the candidate which it is, since all of them lie in buffers of their own.
    fn over_best(&self) -> Option<f64> {
        let candidates = || self.rivals.iter().filter(|r| r.role == "candidate");
        let own = candidates().find(|r| self.is_default(r));
        let own = own.map_or(&self.samples, |r| &r.samples);
        let over = candidates().map(|r| own.over(&r.samples));
        over.reduce(f64::max).map(|r| r.max(1.0))
    }
}

/// exp of the mean logarithm; none of nothing, or of what has no logarithm.
pub(super) fn geomean(of: &[f64]) -> Option<f64> {
    let sum: f64 = of.iter().map(|v| v.ln()).sum();
    Some((sum / of.len() as f64).exp()).filter(|m| m.is_finite())
}

/// Geometric means over the cases of one peer.
struct Mean {
    peer: String,
    cases: usize,
    ratio: Option<f64>,
    wall: Option<f64>,
}

impl Report {
    fn measured(&self) -> impl Iterator<Item = (&Work, &Measured)> {
        self.cases
            .iter()
            .filter_map(|c| Some((&c.work, c.outcome.as_ref().ok()?)))
    }

    fn names(&self) -> Vec<String> {
        let name = |p: &Json| p["name"].as_str().unwrap_or_default().to_owned();
        self.peers.iter().map(name).collect()
    }

    fn means(&self) -> Vec<Mean> {
        let mean = |peer: String| {
            let sides = self.measured().filter_map(|(_, m)| {
                let (_, times) = m.peers.iter().find(|(name, _)| *name == peer)?;
                let times = &times.as_ref().ok()?.samples;
                Some((
                    times.over(&m.samples),
                    times.wall_median() / m.samples.wall_median(),
                ))
            });
            let (ratios, walls): (Vec<f64>, Vec<f64>) = sides.unzip();
            Mean {
                cases: ratios.len(),
                ratio: geomean(&ratios),
                wall: geomean(&walls),
                peer,
            }
        };
        self.names().into_iter().map(mean).collect()
    }

    /// For each case how far its default is from the fastest candidate, sorted.
    fn over_best(&self) -> Vec<(f64, String)> {
        let all = self
            .measured()
            .filter_map(|(w, m)| Some((m.over_best()?, w.name())));
        let mut all: Vec<_> = all.collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }

    fn by_processor(&self) -> bool {
        self.measured().all(|(_, m)| !m.samples.cpu.is_empty())
    }

    /// Everything, for scripts: docs/benchmarks/README.md describes it.
    pub(super) fn json(&self) -> Json {
        let means = self.means().into_iter().map(|m| {
            json!({"peer": m.peer, "cases": m.cases, "of": self.cases.len(), "ratio": m.ratio, "wall_ratio": m.wall})
        });
        let best = self.over_best();
        let over = best.last().map(
            |(worst, case)| json!({"median": best[best.len() / 2].0, "worst": worst, "case": case}),
        );
        json!({
            "format": "tilewright-bench",
            "version": 1,
            "kind": self.kind,
            "machine": self.machine,
            "seconds": self.pace.budget.as_secs_f64(),
            "rounds": self.pace.rounds,
            "time": if self.by_processor() { "cpu" } else { "wall" },
            "peers": self.peers,
            "peaks": self.peaks.as_ref().map(Peaks::json),
            "cases": self.cases.iter().map(CaseReport::json).collect::<Vec<_>>(),
            "geomeans": means.collect::<Vec<_>>(),
            "default_over_best": over,
        })
    }

    /// A table, and what does not fit one.
    pub(super) fn table(&self) -> Result<String, Failure> {
        let mut out = String::new();
        let text = |key: &str| self.machine[key].as_str().unwrap_or("?").to_owned();
        writeln!(out, "{}, driver {}", text("adapter"), text("driver"))?;
        self.rows(&mut out)?;
        self.means_lines(&mut out)?;
        self.rival_lines(&mut out)?;
        self.failures(&mut out)?;
        for (_, measured) in self.measured() {
            for node in &measured.nodes {
                let us = node["ns"].as_f64().unwrap_or(0.0) / 1e3;
                let name = |key: &str| node[key].as_str().unwrap_or_default().to_owned();
                writeln!(
                    out,
                    "{us:>12.1} us  {:<20} {:<18} {}",
                    name("op"),
                    name("shader"),
                    name("node")
                )?;
            }
        }
        self.notes(&mut out)?;
        Ok(out)
    }

    fn rows(&self, out: &mut String) -> Result<(), Failure> {
        let width = self
            .cases
            .iter()
            .map(|c| c.work.name().chars().count())
            .max()
            .unwrap_or(0)
            .max(4);
        let names = self.names();
        let columns: Vec<usize> = names.iter().map(|n| n.len().max(7)).collect();
        let unit = self.cases.first().map_or("", |c| rate(&c.work, 1.0).1);
        write!(
            out,
            "\n{:width$} {:>9} {:>10} {:>10} {:>5} {unit:>9}",
            "case", "first s", "ms", "wall ms", "+-"
        )?;
        for (name, width) in names.iter().zip(&columns) {
            write!(out, " {name:>width$}")?;
        }
        writeln!(out)?;
        for (work, m) in self.measured() {
            let [time, wall] = [m.samples.median(), m.samples.wall_median()].map(|s| s * 1e3);
            let (first, spread) = (m.first, m.samples.spread() * 50.0);
            write!(
                out,
                "{:width$} {first:>9.3} {time:>10.3} {wall:>10.3} {spread:>4.0}%",
                work.name()
            )?;
            write!(out, " {:>9}", rate(work, m.samples.median()).0)?;
            for ((_, times), width) in m.peers.iter().zip(&columns) {
                let ratio = times
                    .as_ref()
                    .map(|t| format!("{:.2}x", t.samples.over(&m.samples)));
                write!(out, " {:>width$}", ratio.unwrap_or_else(|_| "-".into()))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn means_lines(&self, out: &mut String) -> Result<(), Failure> {
        let rates = self
            .measured()
            .filter_map(|(w, m)| Some(w.flops()? / m.samples.median() * 1e-9));
        let rates: Vec<f64> = rates.collect();
        if let Some(mean) = geomean(&rates).filter(|_| rates.len() > 1) {
            writeln!(
                out,
                "geometric mean of {} cases: {mean:.1} GFLOP/s",
                rates.len()
            )?;
        }
        for mean in self.means() {
            let (cases, of) = (mean.cases, self.cases.len());
            if let (Some(ratio), Some(wall)) = (mean.ratio, mean.wall) {
                writeln!(
                    out,
                    "{}: geometric mean {ratio:.3}x over {cases} of {of} cases ({wall:.3}x by wall time)",
                    mean.peer
                )?;
            } else {
                writeln!(out, "{}: none of {of} cases", mean.peer)?;
            }
        }
        Ok(())
    }

    fn rival_lines(&self, out: &mut String) -> Result<(), Failure> {
        for (work, m) in self.measured() {
            for rival in &m.rivals {
                let (over, time) = (rival.samples.over(&m.samples), rival.samples.median() * 1e3);
                let rate = rate(work, rival.samples.median());
                let more = match (rival.role, m.is_default(rival)) {
                    ("copy", _) => format!(", {} {}: ours reaches {over:.2} of it", rate.0, rate.1),
                    (_, true) => format!(", {over:.2}x, the default"),
                    (_, false) => format!(", {over:.2}x"),
                };
                writeln!(out, "  {} {}: {time:.3} ms{more}", work.name(), rival.name)?;
            }
            if matches!(work, Work::Attention(_)) {
                let [arena, scratch] = [m.memory.arena, m.memory.scratch].map(|b| b as f64 * 1e-6);
                writeln!(
                    out,
                    "  {}: arena {arena:.2} MB, of it scratch {scratch:.2} MB",
                    work.name()
                )?;
            }
        }
        let best = self.over_best();
        if let Some((worst, case)) = best.last() {
            let median = best[best.len() / 2].0;
            writeln!(
                out,
                "default over the fastest candidate: median {median:.3}, worst {worst:.3} ({case})"
            )?;
        }
        Ok(())
    }

    fn failures(&self, out: &mut String) -> Result<(), Failure> {
        for case in &self.cases {
            match &case.outcome {
                Err(why) => writeln!(out, "not measured: {}: {why}", case.work.name())?,
                Ok(measured) => {
                    for (peer, times) in &measured.peers {
                        if let Err(why) = times {
                            writeln!(out, "{peer}: {}: {why}", case.work.name())?;
                        }
                    }
                }
            }
        }
        for peer in self.peers.iter().filter(|p| p["failed"].is_string()) {
            writeln!(
                out,
                "peer failed: {}: {}",
                peer["name"].as_str().unwrap_or("?"),
                peer["failed"].as_str().unwrap_or("?")
            )?;
        }
        Ok(())
    }

    fn notes(&self, out: &mut String) -> Result<(), Failure> {
        let time = match self.by_processor() {
            true => {
                "ms: processor time over processors (peers with none are compared by wall time)"
            }
            false => "ms: wall time",
        };
        let least = self
            .measured()
            .map(|(_, m)| m.samples.wall.len())
            .min()
            .unwrap_or(0);
        writeln!(
            out,
            "{time}; medians of at least {least} samples in turns; +- is half the distance of the quartiles"
        )?;
        if !self.peers.is_empty() {
            writeln!(
                out,
                "peers: their time over ours, so that more than 1 says that ours is faster"
            )?;
        }
        if let Some((work, m)) = self.measured().next() {
            let (bound, peer) = (work.bound(), work.peer_bound());
            let sampled = format!("at {SAMPLES} sampled elements");
            let ours = match (work, m.nmse) {
                (_, None) => "not checked".to_owned(),
                (Work::Model(_), _) => {
                    format!("checked against the host's (NMSE at most {bound:.0e})")
                }
                _ => format!("checked against f64 {sampled} (NMSE at most {bound:.0e})"),
            };
            let peers = match (work, self.peers.is_empty()) {
                (_, true) => String::new(),
                (Work::Model(_), _) => {
                    format!("; peers' against ours {sampled} (at most {peer:.0e})")
                }
                _ => format!("; peers' in the same way (at most {peer:.0e})"),
            };
            writeln!(out, "results: {ours}{peers}")?;
        }
        Ok(())
    }
}

/// Work a second as text, and its unit.
fn rate(work: &Work, seconds: f64) -> (String, &'static str) {
    match (work, work.flops(), work.bytes()) {
        (_, Some(flops), _) => (format!("{:.1}", flops / seconds * 1e-9), "GFLOP/s"),
        (_, None, Some(bytes)) => (format!("{:.2}", bytes / seconds * 1e-9), "GB/s"),
        _ => (format!("{:.1}", 1.0 / seconds), "runs/s"),
    }
}

impl CaseReport {
    fn json(&self) -> Json {
        let work = &self.work;
        let mut json = json!({"name": work.name(), "work": work.json(), "flops": work.flops(), "bytes": work.bytes()});
        let more = match &self.outcome {
            Err(why) => json!({"failed": why}),
            Ok(measured) => measured.json(work),
        };
        if let (Json::Object(json), Json::Object(more)) = (&mut json, more) {
            json.extend(more);
        }
        json
    }
}

impl Measured {
    fn json(&self, work: &Work) -> Json {
        let time = self.samples.median();
        let peer = |(name, times): &(String, Result<PeerTimes, String>)| match times {
            Err(why) => json!({"name": name, "ok": false, "why": why}),
            Ok(t) => json!({
                "name": name, "ok": true, "first_seconds": t.first, "nmse": t.nmse, "nmse_bound": work.peer_bound(),
                "ratio": t.samples.over(&self.samples),
                "wall_ratio": t.samples.wall_median() / self.samples.wall_median(),
                "times": t.samples.json(),
            }),
        };
        let rivals = self.rivals.iter().map(|r| {
            json!({
                "name": r.name, "role": r.role, "default": self.is_default(r), "first_seconds": r.first, "ratio": r.samples.over(&self.samples),
                "times": r.samples.json(),
            })
        });
        json!({
            "first_seconds": self.first,
            "nmse": self.nmse,
            "nmse_bound": work.bound(),
            "gflops": work.flops().map(|n| n / time * 1e-9),
            "gbytes_per_second": work.bytes().map(|n| n / time * 1e-9),
            "memory": self.memory.json(),
            "kernels": self.kernels,
            "times": self.samples.json(),
            "peers": self.peers.iter().map(peer).collect::<Vec<_>>(),
            "rivals": rivals.collect::<Vec<_>>(),
            "default_over_best": self.over_best(),
            "nodes": self.nodes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometric_means_are_of_ratios() {
        assert_eq!(geomean(&[]), None);
        assert!((geomean(&[0.5, 2.0, 8.0]).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(geomean(&[1.0, f64::NAN]), None);
    }
}
