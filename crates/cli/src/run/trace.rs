//! `--trace`: what `run` did and when, as Chrome's trace events, which <https://ui.perfetto.dev> opens.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tilewright::NodeTime;

/// Tracks, in the order that they are shown in.
const PHASES: u32 = 1;
const HOST: u32 = 2;
const DEVICE: u32 = 3;

/// The phases of a command, one after the other.
pub(crate) struct Trace {
    started: Instant,
    phases: Vec<Phase>,
}

struct Phase {
    name: String,
    begin: Duration,
    /// None while it lasts.
    end: Option<Duration>,
}

impl Trace {
    /// Begins with a phase.
    pub(crate) fn new(name: &str) -> Self {
        let mut trace = Self {
            started: Instant::now(),
            phases: vec![],
        };
        trace.phase(name);
        trace
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the phase that lasts and begins the next; when that was.
    pub(crate) fn phase(&mut self, name: impl Into<String>) -> Duration {
        let now = self.end();
        self.phases.push(Phase {
            name: name.into(),
            begin: now,
            end: None,
        });
        now
    }

    /// Ends the phase that lasts; when that was.
    pub(crate) fn end(&mut self) -> Duration {
        let now = self.elapsed();
        if let Some(last) = self.phases.last_mut() {
            last.end.get_or_insert(now);
        }
        now
    }

    /// The file's text. The nodes are those of a run that began at `profiled`; microseconds, as the format has it.
    pub(crate) fn json(&self, adapter: &str, profiled: Duration, nodes: &[NodeTime]) -> Value {
        let mut events = vec![json!({
            "ph": "M", "pid": 1, "name": "process_name", "args": {"name": format!("tilewright on {adapter}")},
        })];
        for (track, name) in [(PHASES, "phases"), (HOST, "host steps"), (DEVICE, "device")] {
            let (meta, order) = ("thread_name", "thread_sort_index");
            events.push(
                json!({"ph": "M", "pid": 1, "tid": track, "name": meta, "args": {"name": name}}),
            );
            events.push(json!({"ph": "M", "pid": 1, "tid": track, "name": order, "args": {"sort_index": track}}));
        }
        for phase in &self.phases {
            let end = phase.end.unwrap_or(phase.begin);
            let span = [phase.begin, end].map(nanoseconds);
            events.push(event(PHASES, &phase.name, "phase", span, json!({})));
        }
        events.extend(node_events(nanoseconds(profiled), nodes));
        json!({
            "traceEvents": events, "displayTimeUnit": "ns",
            "otherData": {"format": "tilewright-trace", "version": 1, "adapter": adapter},
        })
    }
}

/// The events of nodes. Two clocks meet at the start of a stage, so where one event would begin before its forerunner on the
/// track ends, it begins then.
fn node_events(origin: u64, nodes: &[NodeTime]) -> Vec<Value> {
    let mut free = [0; 4];
    let mut events = vec![];
    for node in nodes {
        let track = match node.dispatch {
            Some(_) => DEVICE,
            None => HOST,
        };
        let free = &mut free[track as usize];
        let begin = origin.saturating_add(node.begin).max(*free);
        let end = begin.saturating_add(node.nanoseconds);
        *free = end;
        let mut args = json!({"op": node.op});
        if let Some(d) = &node.dispatch {
            args = json!({
                "op": node.op, "shader": node.shader, "variant": d.variant, "groups": d.groups, "work": d.work,
                "bytes": d.bytes,
            });
        }
        // What passes add has no name.
        let name = match node.node.is_empty() {
            true => &node.op,
            false => &node.node,
        };
        events.push(event(track, name, &node.shader, [begin, end], args));
    }
    events
}

/// A whole event, from its times in nanoseconds.
fn event(track: u32, name: &str, category: &str, [begin, end]: [u64; 2], args: Value) -> Value {
    let micros = |ns: u64| ns as f64 / 1e3;
    json!({
        "ph": "X", "pid": 1, "tid": track, "name": name, "cat": category, "ts": micros(begin),
        "dur": micros(end - begin), "args": args,
    })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilewright::Dispatched;

    fn node(name: &str, begin: u64, nanoseconds: u64, device: bool) -> NodeTime {
        let dispatched = || Dispatched {
            variant: "map A=1".into(),
            groups: [2, 1, 1],
            work: 8,
            bytes: 16,
        };
        NodeTime {
            node: name.into(),
            op: "Add".into(),
            shader: if device { "map" } else { "host" }.into(),
            begin,
            nanoseconds,
            dispatch: device.then(dispatched),
        }
    }

    #[test]
    fn events_follow_each_other_on_their_track() {
        let mut trace = Trace::new("load");
        trace.phase("run");
        trace.end();
        let nodes = [
            node("a", 10, 5, true),
            node("h", 12, 100, false),
            node("b", 14, 5, true),
            node("c", 900, 5, true),
        ];
        let json = trace.json("x", Duration::from_nanos(1000), &nodes);
        let events = json["traceEvents"].as_array().unwrap();
        let on = |track: u32| -> Vec<(&str, f64, f64)> {
            let whole = events
                .iter()
                .filter(|e| e["ph"] == "X" && e["tid"] == track);
            let number = |v: &Value| v.as_f64().unwrap();
            whole
                .map(|e| {
                    (
                        e["name"].as_str().unwrap(),
                        number(&e["ts"]),
                        number(&e["dur"]),
                    )
                })
                .collect()
        };
        assert_eq!(
            on(DEVICE),
            [("a", 1.01, 0.005), ("b", 1.015, 0.005), ("c", 1.9, 0.005)]
        );
        assert_eq!(on(HOST), [("h", 1.012, 0.1)]);
        let phases = on(PHASES);
        assert_eq!([phases[0].0, phases[1].0], ["load", "run"]);
        // To a rounding of f64.
        assert!(
            phases[0].1 + phases[0].2 <= phases[1].1 + 1e-9,
            "{phases:?}"
        );
        let b = events.iter().find(|e| e["name"] == "b").unwrap();
        assert_eq!(b["args"]["variant"], "map A=1");
        assert_eq!(b["args"]["bytes"], 16);
    }
}
