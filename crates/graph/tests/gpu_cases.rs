//! Every operator's cases on the device against the reference, once with what the adapter offers and once with default
//! limits and no features. A case whose operator has no kernel runs on the host and is counted apart.

mod common;

use common::{check, gpu};
use tilewright_device::{Gpu, GpuOptions};
use tilewright_graph::Op;

fn check_all(gpu: &Gpu, what: &str) {
    let (mut failures, mut device, mut host) = (vec![], 0, std::collections::BTreeMap::new());
    for case in Op::cases() {
        match check(&case, gpu) {
            Ok(true) => device += 1,
            Ok(false) => *host.entry(case.op.name().to_string()).or_insert(0) += 1,
            Err(e) => failures.push(format!("{} `{}`: {e}", case.op.name(), case.name)),
        }
    }
    println!("{what}: {device} cases on the device; with a host step: {host:?}");
    assert!(
        failures.is_empty(),
        "{} cases failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(device > 1900, "only {device} cases ran on the device");
}

#[test]
fn cases_agree_on_the_adapter() {
    if let Some(gpu) = gpu(GpuOptions::new()) {
        check_all(&gpu, &gpu.info().name);
    }
}

#[test]
fn cases_agree_on_default_limits() {
    if let Some(gpu) = gpu(GpuOptions::new().default_limits_only()) {
        check_all(&gpu, "default limits");
    }
}
