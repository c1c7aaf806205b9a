//! What a run has to say, for people and for scripts.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tilewright::{HostStep, HostTensor, NodeTime};

/// Rows of scores that are shown.
const ROWS: usize = 8;
/// Width of a full bar.
const BAR: f64 = 30.0;

/// Times, outputs, and where they came from.
pub(crate) struct Report {
    pub(crate) adapter: String,
    /// Reading the model and the inputs.
    pub(crate) load: Duration,
    /// Opening the adapter.
    pub(crate) open: Duration,
    /// From the start to the first result.
    pub(crate) first: Duration,
    /// Of the repeated runs.
    pub(crate) times: Vec<Duration>,
    pub(crate) host_steps: Vec<HostStep>,
    pub(crate) outputs: Vec<(Arc<str>, HostTensor)>,
    /// Where the outputs were written, if they were.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) profile: Vec<NodeTime>,
    /// A profile was asked for, and the adapter cannot time dispatches.
    pub(crate) untimed: bool,
    pub(crate) labels: Vec<String>,
    pub(crate) top: usize,
}

/// What stands in the place of a profile that cannot be made.
const UNTIMED: &str = "no times of nodes: the adapter has no timestamp queries";

/// The best classes of one row of scores: class and score, best first.
type Best = Vec<(usize, f64)>;

impl Report {
    fn median(&self) -> Option<Duration> {
        let mut sorted = self.times.clone();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied()
    }

    /// The best classes by row, of outputs that look like scores: matrices of floats.
    fn best(&self, tensor: &HostTensor) -> Vec<Best> {
        let shape = tensor.shape();
        if !tensor.dtype().is_float() || shape.len() != 2 || shape[1] < 2 {
            return vec![];
        }
        let scores = tensor.to_f64();
        let row = |scores: &[f64]| {
            let mut order: Vec<_> = scores.iter().copied().enumerate().collect();
            order.sort_by(|a, b| b.1.total_cmp(&a.1));
            order.truncate(self.top);
            order
        };
        scores.chunks(shape[1]).take(ROWS).map(row).collect()
    }

    fn label(&self, class: usize) -> String {
        let known = self.labels.get(class);
        known.cloned().unwrap_or_else(|| class.to_string())
    }

    /// Everything, for scripts.
    pub(crate) fn json(&self) -> Value {
        let outputs: Vec<_> = (self.outputs.iter().enumerate())
            .map(|(i, (name, t))| {
                let row = |best: &Best| -> Vec<Value> {
                    (best.iter())
                        .map(|(class, score)| {
                            json!({"class": class, "label": self.label(*class), "score": score})
                        })
                        .collect()
                };
                json!({
                    "name": &**name, "dtype": t.dtype().to_string(), "shape": t.shape().to_vec(),
                    "file": self.files.get(i), "top": self.best(t).iter().map(row).collect::<Vec<_>>(),
                })
            })
            .collect();
        let host: Vec<_> = (self.host_steps.iter())
            .map(|s| json!({"node": s.node, "op": s.op, "reason": s.reason}))
            .collect();
        let nodes: Vec<_> = (self.profile.iter())
            .map(|t| json!({"node": t.node, "op": t.op, "shader": t.shader, "ns": t.nanoseconds}))
            .collect();
        json!({
            "format": "tilewright-run", "version": 1, "adapter": self.adapter,
            "load_ms": millis(self.load), "open_ms": millis(self.open), "first_ms": millis(self.first),
            "runs_ms": self.times.iter().copied().map(millis).collect::<Vec<_>>(),
            "median_ms": self.median().map(millis),
            "host_steps": host, "outputs": outputs, "nodes": nodes,
            "note": self.untimed.then_some(UNTIMED),
        })
    }

    fn scores(&self, f: &mut fmt::Formatter<'_>, tensor: &HostTensor) -> fmt::Result {
        let rows = self.best(tensor);
        let classes = rows.iter().flatten();
        let width = classes.map(|(c, _)| self.label(*c).chars().count()).max();
        let width = width.unwrap_or(0);
        for (i, best) in rows.iter().enumerate() {
            if rows.len() > 1 {
                writeln!(f, "  row {i}")?;
            }
            // Bars only where all are positive, as probabilities are.
            let most = best.first().map_or(0.0, |b| b.1);
            let bars = most > 0.0 && best.iter().all(|b| b.1 >= 0.0);
            for (class, score) in best {
                let length = if bars {
                    (score / most * BAR).round()
                } else {
                    0.0
                };
                let bar = "#".repeat(length as usize);
                let label = self.label(*class);
                writeln!(f, "    {label:<width$}  {score:>10.4}  {bar}")?;
            }
        }
        let left = tensor.shape().first().map_or(0, |n| n.saturating_sub(ROWS));
        if !rows.is_empty() && left > 0 {
            writeln!(f, "  and {left} more rows")?;
        }
        Ok(())
    }

    fn nodes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.profile.iter().map(|t| t.nanoseconds).sum();
        let line = |f: &mut fmt::Formatter<'_>, ns: u64, text: &str| {
            let share = 100.0 * ns as f64 / total.max(1) as f64;
            writeln!(f, "{:>10.1} us  {share:>5.1}%  {text}", ns as f64 / 1e3)
        };
        let mut shaders: HashMap<String, (u64, usize)> = HashMap::new();
        for t in &self.profile {
            line(
                f,
                t.nanoseconds,
                &format!("{:<20} {:<16} {}", t.op, t.shader, t.node),
            )?;
            // What the host runs has no shader in common.
            let shader = match &*t.shader {
                "host" => format!("host {}", t.op),
                shader => shader.to_owned(),
            };
            let sum = shaders.entry(shader).or_default();
            *sum = (sum.0 + t.nanoseconds, sum.1 + 1);
        }
        let mut shaders: Vec<_> = shaders.into_iter().collect();
        shaders.sort_by(|(a, (s, _)), (b, (t, _))| t.cmp(s).then(a.cmp(b)));
        writeln!(f, "by shader")?;
        for (name, (ns, count)) in shaders {
            line(f, ns, &format!("{name} ({count})"))?;
        }
        line(f, total, "all")
    }
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (load, open, first) = (millis(self.load), millis(self.open), millis(self.first));
        let rest = first - load - open;
        writeln!(f, "adapter: {}", self.adapter)?;
        writeln!(
            f,
            "first result after {first:.1} ms: model {load:.1}, adapter {open:.1}, compile and run {rest:.1}"
        )?;
        if let Some(median) = self.median() {
            let spread = |d: Option<&Duration>| d.copied().map_or(0.0, millis);
            let (least, most) = (
                spread(self.times.iter().min()),
                spread(self.times.iter().max()),
            );
            let n = self.times.len();
            writeln!(
                f,
                "median of {n} runs {:.3} ms ({least:.3} to {most:.3})",
                millis(median)
            )?;
        }
        for step in &self.host_steps {
            writeln!(
                f,
                "on the host: {} `{}`: {}",
                step.op, step.node, step.reason
            )?;
        }
        for (i, (name, tensor)) in self.outputs.iter().enumerate() {
            writeln!(f, "{name}: {tensor}")?;
            self.scores(f, tensor)?;
            if let Some(file) = self.files.get(i) {
                writeln!(f, "  written to {}", file.display())?;
            }
        }
        if !self.profile.is_empty() {
            self.nodes(f)?;
        }
        if self.untimed {
            writeln!(f, "{UNTIMED}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(scores: Vec<f32>) -> Report {
        let tensor = HostTensor::from_vec([2, 3], scores).unwrap();
        let node = |ns| NodeTime {
            node: "n".into(),
            op: "Add".into(),
            shader: "map".into(),
            begin: 0,
            nanoseconds: ns,
            dispatch: None,
        };
        Report {
            adapter: "host".into(),
            load: Duration::from_millis(2),
            open: Duration::from_millis(3),
            first: Duration::from_millis(10),
            times: [5, 1, 3].map(Duration::from_millis).to_vec(),
            host_steps: vec![],
            outputs: vec![("y".into(), tensor)],
            files: vec![],
            profile: vec![node(3000), node(1000)],
            untimed: false,
            labels: vec!["ape".into(), "bee".into()],
            top: 2,
        }
    }

    #[test]
    fn the_best_scores_come_first() {
        let text = report(vec![0.1, 0.7, 0.2, 0.0, 0.0, 1.0]).to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let row = lines.iter().position(|l| *l == "row 0").unwrap();
        assert!(
            lines[row + 1].starts_with("bee      0.7000  ####"),
            "{text}"
        );
        assert!(
            lines[row + 2].starts_with("2        0.2000  ####"),
            "{text}"
        );
        assert!(lines[row + 4].starts_with("2        1.0000"), "{text}");
        assert!(text.contains("compile and run 5.0"), "{text}");
        assert!(
            text.contains("median of 3 runs 3.000 ms (1.000 to 5.000)"),
            "{text}"
        );
        assert!(text.contains("75.0%  Add"), "{text}");
    }

    #[test]
    fn what_cannot_be_timed_is_said() {
        let report = Report {
            profile: vec![],
            untimed: true,
            ..report(vec![0.0; 6])
        };
        assert!(report.to_string().trim_end().ends_with(UNTIMED));
        assert_eq!(report.json()["note"], UNTIMED);
    }

    #[test]
    fn negative_scores_have_no_bars() {
        let text = report(vec![-1.0, -2.0, -3.0, f32::NAN, 0.0, 1.0]).to_string();
        assert!(!text.contains('#'), "{text}");
    }

    #[test]
    fn scripts_get_the_same() {
        let json = report(vec![0.1, 0.7, 0.2, 0.0, 0.0, 1.0]).json();
        assert_eq!(json["median_ms"], 3.0);
        assert_eq!(json["outputs"][0]["top"][0][0]["label"], "bee");
        assert_eq!(json["nodes"][1]["ns"], 1000);
    }
}
