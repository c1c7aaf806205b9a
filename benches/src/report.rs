//! What every report says about the machine.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tilewright_device::Gpu;

/// The adapter with its driver and limits, version and commit of the engine, processors, load and clock: the head of a report.
pub fn machine(gpu: &Gpu) -> Value {
    let (info, caps) = (gpu.info(), gpu.caps());
    json!({
        "adapter": info.key,
        "driver": info.driver,
        "backend": format!("{:?}", info.backend),
        "kind": format!("{:?}", info.kind),
        "subgroups": caps.subgroups,
        "f16": caps.f16,
        "trusted": gpu.options().trusted,
        "binding_bytes": caps.limits.binding_bytes,
        "workgroup_bytes": caps.limits.workgroup_bytes,
        "processor": processor(),
        "processors": crate::processors(),
        "load_average": load_average(),
        "timer_quantum_ns": timer_quantum().as_nanos() as u64,
        "tilewright": env!("CARGO_PKG_VERSION"),
        "commit": commit(),
    })
}

/// What `TILEWRIGHT_COMMIT` says, else the commit of the sources that this was built from, with `-dirty` after it if they
/// differ from it; none where they, or git, are not there.
pub fn commit() -> Option<String> {
    let given = std::env::var("TILEWRIGHT_COMMIT");
    if let Some(given) = given.ok().filter(|text| !text.is_empty()) {
        return Some(given);
    }
    let git = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR")])
        .args([
            "describe",
            "--always",
            "--dirty",
            "--exclude=*",
            "--abbrev=12",
        ])
        .output()
        .ok()?;
    let text = String::from_utf8(git.stdout).ok()?;
    (git.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The shortest time that the clock can tell from none: the least step of many readings.
pub fn timer_quantum() -> Duration {
    let start = Instant::now();
    let (mut last, mut least) = (start, Duration::MAX);
    let mut steps = 0;
    // A thousand steps, or as many as a clock of milliseconds makes in a fifth of a second.
    while steps < 1000 && last - start < Duration::from_millis(200) {
        let now = Instant::now();
        if now > last {
            least = least.min(now - last);
            (last, steps) = (now, steps + 1);
        }
    }
    least
}

/// An error that names every stated bound that was missed; none if the list is empty.
///
/// # Errors
/// Where the list is not empty.
pub fn judge(missed: &[String]) -> Result<(), String> {
    match missed {
        [] => Ok(()),
        missed => Err(format!("missed: {}", missed.join("; "))),
    }
}

/// The processor's name with family and model, which decide what a software adapter's compiler makes of a kernel. Linux only.
fn processor() -> Option<String> {
    named(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

fn named(cpuinfo: &str) -> Option<String> {
    let fields = || cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let field = |name| Some(fields().find(|(key, _)| key.trim() == name)?.1.trim());
    let name = field("model name")?;
    Some(match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => format!("{name}, family {family}, model {model}"),
        _ => name.to_owned(),
    })
}

/// Processes that want to run, averaged over the last minute, this one included. Linux only.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_steps() {
        let quantum = timer_quantum();
        assert!(
            !quantum.is_zero() && quantum < Duration::from_millis(200),
            "{quantum:?}"
        );
    }

    #[test]
    fn a_processor_has_a_name() {
        let text = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: A B\n\nprocessor\t: 1\n";
        assert_eq!(named(text).as_deref(), Some("A B, family 25, model 17"));
        assert_eq!(named("model name: C").as_deref(), Some("C"));
        assert_eq!(named("Hardware: D"), None);
    }

    #[test]
    fn every_miss_is_named() {
        assert_eq!(judge(&[]), Ok(()));
        let missed = ["a 1 (at least 2)", "b 3 (at most 1)"].map(String::from);
        let said = judge(&missed).unwrap_err();
        assert_eq!(said, "missed: a 1 (at least 2); b 3 (at most 1)");
    }
}
