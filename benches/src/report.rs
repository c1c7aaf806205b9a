//! What every report says about the machine.

use serde_json::{Value, json};
use tilewright_device::Gpu;

/// The adapter with its driver and limits, the version of the engine, processors and load: the head of a report.
pub fn machine(gpu: &Gpu) -> Value {
    let (info, caps) = (gpu.info(), gpu.caps());
    json!({
        "adapter": info.key,
        "driver": info.driver,
        "backend": format!("{:?}", info.backend),
        "kind": format!("{:?}", info.kind),
        "subgroups": caps.subgroups,
        "f16": caps.f16,
        "binding_bytes": caps.limits.binding_bytes,
        "workgroup_bytes": caps.limits.workgroup_bytes,
        "processors": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "load_average": load_average(),
        "tilewright": env!("CARGO_PKG_VERSION"),
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
