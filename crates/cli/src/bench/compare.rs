//! Two reports of the same cases: what became slower beyond noise.

use crate::Failure;
use serde_json::Value as Json;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tilewright_benches::judge;

/// How reports are judged.
#[derive(clap::Args)]
pub(super) struct Judge {
    /// With a comparison: the least part by which a median has to grow to count as a regression; where the samples of the two
    /// reports scatter more, it takes three standard deviations of their logarithms (from the median absolute deviation).
    #[arg(long, default_value_t = 0.1, value_name = "PART")]
    threshold: f64,
    /// Compare although adapter, driver or processor differ.
    #[arg(long)]
    force: bool,
}

/// Arguments of `bench compare`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright bench compare before.json after.json --threshold 0.05\n\n\
    Fails where a case of NEW is slower than in OLD beyond noise, or is missing."
)]
pub(super) struct Args {
    /// The report to compare with, from --json.
    old: PathBuf,
    /// The report to judge.
    new: PathBuf,
    #[command(flatten)]
    judge: Judge,
}

/// Compares two files.
pub(super) fn main(args: &Args) -> Result<(), Failure> {
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    args.judge.same_machine(&old["machine"], &new["machine"])?;
    let verdict = args.judge.verdict(&old, &new)?;
    crate::say(verdict.table.trim_end())?;
    verdict.judge()
}

/// A report of this format.
pub(super) fn read(path: &Path) -> Result<Json, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::from(format!("{}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
    let json: Json = serde_json::from_str(&text).map_err(|e| failed(&e))?;
    if json["format"] != "tilewright-bench" || json["version"] != 1 {
        let what = format!(
            "format {} version {}, expected \"tilewright-bench\" version 1",
            json["format"], json["version"]
        );
        return Err(failed(&format!(
            "{what}; `tilewright bench .. --json` writes it"
        )));
    }
    Ok(json)
}

/// What a comparison found.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) table: String,
    slower: Vec<String>,
}

impl Verdict {
    /// An error that names what became slower.
    pub(super) fn judge(&self) -> Result<(), Failure> {
        Ok(judge(&self.slower).map_err(|e| e.replacen("missed", "regressions", 1))?)
    }
}

/// Samples of a case: their median in seconds, and the standard deviation of their logarithms by the median absolute
/// deviation. Times scatter by factors: beside a much faster case, a scatter in seconds would hide any change.
#[derive(Clone, Copy)]
struct Times {
    median: f64,
    deviation: f64,
}

/// Clocks of processor time may tick slower than a small case runs: no time is taken to be shorter, in seconds.
const TICK: f64 = 1e-9;

impl Times {
    fn of(samples: &Json) -> Option<Self> {
        let samples: Vec<f64> = samples
            .as_array()?
            .iter()
            .filter_map(|sample| Some(sample.as_f64()?.max(TICK)))
            .collect();
        let center = median(samples.clone())?;
        let away = samples.iter().map(|s| (s / center).ln().abs()).collect();
        // For normally scattered samples the MAD is 0.6745 standard deviations.
        Some(Self {
            median: center,
            deviation: median(away)? / 0.6745,
        })
    }
}

fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

impl Judge {
    /// Refuses reports of different machines, unless forced.
    pub(super) fn same_machine(&self, old: &Json, new: &Json) -> Result<(), Failure> {
        for key in ["adapter", "driver", "processor", "processors"] {
            if old[key] != new[key] && !self.force {
                let what = format!(
                    "the reports are of different machines: {key} {} then, {} now",
                    old[key], new[key]
                );
                return Err(format!("{what}; --force compares them all the same").into());
            }
        }
        Ok(())
    }

    /// Old and new times of every case.
    pub(super) fn verdict(&self, old: &Json, new: &Json) -> Result<Verdict, Failure> {
        if old["kind"] != new["kind"] {
            return Err(format!(
                "one report is of {}, the other of {}",
                old["kind"], new["kind"]
            )
            .into());
        }
        let cases = |report: &Json| report["cases"].as_array().cloned().unwrap_or_default();
        let (before, after) = (cases(old), cases(new));
        let mut verdict = Verdict {
            table: String::new(),
            slower: vec![],
        };
        let width = after
            .iter()
            .map(|c| text(&c["name"]).chars().count())
            .max()
            .unwrap_or(0)
            .max(4);
        writeln!(
            verdict.table,
            "{:width$} {:>10} {:>10} {:>8} {:>8}",
            "case", "old ms", "new ms", "change", "noise"
        )?;
        let mut compared = 0;
        for case in &after {
            let then = before.iter().find(|c| c["name"] == case["name"]);
            compared += usize::from(self.case(&mut verdict, then, case, width)?);
        }
        for gone in before
            .iter()
            .filter(|c| !after.iter().any(|a| a["name"] == c["name"]))
        {
            writeln!(
                verdict.table,
                "{:width$} {:>21}",
                text(&gone["name"]),
                "not measured now"
            )?;
        }
        if compared == 0 && verdict.slower.is_empty() {
            return Err(
                "the reports have no case in common; compare reports of the same sizes".into(),
            );
        }
        writeln!(
            verdict.table,
            "slower: by more than {:.0}% and by more than noise, three standard deviations of the samples' logarithms",
            self.threshold * 100.0
        )?;
        Ok(verdict)
    }

    /// A line of the table; whether both reports have times.
    fn case(
        &self,
        verdict: &mut Verdict,
        then: Option<&Json>,
        case: &Json,
        width: usize,
    ) -> Result<bool, Failure> {
        let name = text(&case["name"]);
        let both = then.map(|then| (times(then, then, case), times(case, then, case)));
        match both {
            Some((Some(was), Some(is))) => {
                self.row(verdict, &name, width, was, is)?;
                return Ok(true);
            }
            Some((Some(_), None)) => {
                writeln!(verdict.table, "{name:width$} {:>21}", "fails now")?;
                verdict
                    .slower
                    .push(format!("{name} fails now: {}", text(&case["failed"])));
            }
            _ => writeln!(verdict.table, "{name:width$} {:>10}", "new")?,
        }
        Ok(false)
    }

    fn row(
        &self,
        verdict: &mut Verdict,
        name: &str,
        width: usize,
        was: Times,
        is: Times,
    ) -> Result<(), Failure> {
        let change = is.median / was.median - 1.0;
        let noise = (3.0 * was.deviation.hypot(is.deviation)).exp_m1();
        let bound = noise.max(self.threshold);
        let mark = match () {
            () if change > bound => "  SLOWER",
            () if 1.0 / (1.0 + change) > 1.0 + bound => "  faster",
            () => "",
        };
        writeln!(
            verdict.table,
            "{name:width$} {:>10.4} {:>10.4} {:>+7.1}% {:>7.1}%{mark}",
            was.median * 1e3,
            is.median * 1e3,
            change * 100.0,
            noise * 100.0
        )?;
        if change > bound {
            verdict.slower.push(format!(
                "{name} {:+.1}% (at most {:.1}%)",
                change * 100.0,
                bound * 100.0
            ));
        }
        Ok(())
    }
}

/// The times of a case: processor time where both reports have it, else wall time.
fn times(case: &Json, then: &Json, now: &Json) -> Option<Times> {
    let has = |case: &Json| {
        case["times"]["cpu_seconds"]
            .as_array()
            .is_some_and(|s| !s.is_empty())
    };
    let key = if has(then) && has(now) {
        "cpu_seconds"
    } else {
        "wall_seconds"
    };
    Times::of(&case["times"][key])
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const JUDGE: Judge = Judge {
        threshold: 0.1,
        force: false,
    };

    fn report(times: &[(&str, &[f64])]) -> Json {
        let case = |(name, samples): &(&str, &[f64])| json!({"name": name, "times": {"wall_seconds": samples, "cpu_seconds": []}});
        json!({"kind": "gemm", "cases": times.iter().map(case).collect::<Vec<_>>()})
    }

    #[test]
    fn slower_is_beyond_threshold_and_noise() {
        let old = report(&[("a", &[1.0, 1.01, 0.99]), ("b", &[1.0, 1.2, 0.8])]);
        let of = |a: f64, b: f64| {
            let new = report(&[("a", &[a, a, a]), ("b", &[b, b, b])]);
            JUDGE.verdict(&old, &new).unwrap().judge()
        };
        assert!(of(1.09, 1.0).is_ok());
        // The samples of b scatter by a fifth: a standard deviation of 0.27.
        assert!(of(1.0, 2.2).is_ok());
        let error = of(1.15, 2.35).unwrap_err().to_string();
        assert_eq!(
            error,
            "regressions: a +15.0% (at most 10.0%); b +135.0% (at most 125.0%)"
        );
        assert!(of(0.5, 0.5).is_ok());
    }

    #[test]
    fn scatter_does_not_hide_a_change_by_far() {
        let scattered = [1.0, 1.5, 0.7];
        let of = |by: f64| report(&[("a", &scattered.map(|s| s * by))]);
        let verdict = JUDGE.verdict(&of(1.0), &of(1e4)).unwrap();
        assert!(verdict.table.contains("SLOWER") && verdict.judge().is_err());
        let verdict = JUDGE.verdict(&of(1e4), &of(1.0)).unwrap();
        assert!(verdict.table.contains("faster") && verdict.judge().is_ok());
        // A clock that did not tick.
        let verdict = JUDGE.verdict(&of(0.0), &of(0.0)).unwrap();
        assert!(verdict.judge().is_ok(), "{}", verdict.table);
    }

    #[test]
    fn what_is_gone_or_fails_is_told() {
        let old = report(&[("a", &[1.0]), ("b", &[1.0])]);
        let mut new = report(&[("a", &[1.0]), ("c", &[1.0])]);
        let verdict = JUDGE.verdict(&old, &new).unwrap();
        assert!(
            verdict.table.contains("not measured now") && verdict.judge().is_ok(),
            "{}",
            verdict.table
        );
        new["cases"][0] = json!({"name": "a", "failed": "no room"});
        let error = JUDGE
            .verdict(&old, &new)
            .unwrap()
            .judge()
            .unwrap_err()
            .to_string();
        assert_eq!(error, "regressions: a fails now: no room");
        let none = JUDGE
            .verdict(&old, &report(&[("c", &[1.0])]))
            .unwrap_err()
            .to_string();
        assert!(none.contains("no case in common"), "{none}");
    }

    #[test]
    fn other_machines_are_refused() {
        let (a, b) = (
            json!({"adapter": "A", "processors": 2}),
            json!({"adapter": "B", "processors": 2}),
        );
        let error = JUDGE.same_machine(&a, &b).unwrap_err().to_string();
        assert!(
            error.contains("adapter \"A\" then, \"B\" now; --force"),
            "{error}"
        );
        assert!(JUDGE.same_machine(&a, &a).is_ok());
        assert!(
            Judge {
                force: true,
                ..JUDGE
            }
            .same_machine(&a, &b)
            .is_ok()
        );
    }
}
