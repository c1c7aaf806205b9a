//! Every operator's cases on the device against the reference, once with what the adapter offers and once with default
//! limits and no features. What may run on the host instead is listed.

mod common;

use common::hosted::Hosted;
use common::{check_steps, gpu};
use tilewright_device::{Gpu, GpuOptions};
use tilewright_graph::Op;

fn check_all(gpu: &Gpu, what: &str) {
    let (mut failures, mut device, mut hosted) = (vec![], 0, Hosted::default());
    for case in Op::cases() {
        match check_steps(&case, gpu) {
            Ok(steps) => {
                device += usize::from(steps.is_empty());
                hosted.note(&case, &steps);
            }
            Err(e) => failures.push(format!("{} `{}`: {e}", case.op.name(), case.name)),
        }
    }
    println!("{what}: {device} cases on the device");
    assert!(
        failures.is_empty(),
        "{} cases failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    hosted.agree(gpu.caps().f16);
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
