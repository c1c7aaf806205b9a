//! An audited device tells what its shaders do out of bounds, and nothing else.
#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

mod common;

use common::*;
use tilewright_device::*;

/// Runs 64 threads of a text with the bindings `x` (16 words) and `y` (256 words); faults as `line access past`.
fn faults(gpu: &Gpu, body: &str) -> Vec<String> {
    let text = format!(
        "@group(0) @binding(X) var<storage, read> x: array<u32>;\n\
         @group(0) @binding(Y) var<storage, read_write> y: array<u32>;\n\
         var<workgroup> w: array<u32, 64>;\n\
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) t: u32) {{\n{body}\n}}"
    );
    let buffers = [64, 1024].map(|bytes| gpu.buffer(bytes, BufferUse::Storage).unwrap());
    let dispatch = Dispatch::new(Variant::new("t").text("t", text))
        .bind("X", Span::whole(Slot(0), 64))
        .bind("Y", Span::whole(Slot(1), 1024));
    let replay = bind(gpu, &[dispatch], &buffers).unwrap();
    run(gpu, &replay);
    let found = gpu.block_on(gpu.audit()).unwrap();
    let past = |f: &Fault| f.past.map_or("unwritten".into(), |n| n.to_string());
    let mut found: Vec<String> = (found.iter())
        .map(|f| format!("{} {} {}", f.place, f.access, past(f)))
        .collect();
    found.sort();
    found
}

#[test]
fn accesses_out_of_bounds_are_told() {
    for options in [GpuOptions::new(), GpuOptions::new().default_limits_only()] {
        let Some(gpu) = open(options.audited()) else {
            return;
        };
        let clean = "y[t] = x[min(t, 15u)];\nw[t] = t;\nworkgroupBarrier();\ny[t] += w[63u - t];";
        assert!(faults(&gpu, clean).is_empty());
        assert_eq!(faults(&gpu, "y[t] = x[t];"), ["t:5 x[t] 48"]);
        assert_eq!(
            faults(&gpu, "y[4u * t + 4u] = 1u;"),
            ["t:5 y[4u * t + 4u] 1"]
        );
        let below = faults(&gpu, "y[i32(t) - 1] = 1u;");
        assert_eq!(below, ["t:5 y[i32(t) - 1] 4294967040"]);
        let half = "if t < 32u { w[t] = t; }\nworkgroupBarrier();\ny[t] = w[t];";
        assert_eq!(faults(&gpu, half), ["t:7 w[t] unwritten"]);
        let local = "var a: array<u32, 8>;\na[t % 9u] = t;\ny[t] = a[t % 8u];";
        assert_eq!(faults(&gpu, local), ["t:6 a[t % 9u] 1"]);
        // A vector has no length of its own in the text.
        let vector = "var a: vec4<u32>;\ny[t] = a[t % 6u];";
        assert_eq!(faults(&gpu, vector), ["t:6 a[t % 6u] 2"]);
        // What was told is not told again.
        assert!(gpu.block_on(gpu.audit()).unwrap().is_empty());
    }
}

#[test]
fn an_audited_device_chooses_the_kernels_of_one_that_is_not() {
    let options = GpuOptions::new().default_limits_only();
    let (Some(plain), Some(audited)) = (open(options.clone()), open(options.audited())) else {
        return;
    };
    assert_eq!(plain.caps(), audited.caps());
    assert!(plain.block_on(plain.audit()).unwrap().is_empty());
}
