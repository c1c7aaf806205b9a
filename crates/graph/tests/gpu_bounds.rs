//! Every operator's cases on an audited device: no shader leaves an array, or reads workgroup memory before it is written.
//! That is what `GpuOptions::trusted` asks of shaders. `gpu_shapes.rs` does the same with random sizes.
//!
//! Checked shaders are slow to compile, so a case runs only where its plan has a shader with parts that no case before it
//! had, and one in twenty of the others; all run with `TILEWRIGHT_AUDIT=1`.

mod common;

use common::{check_steps, fed, gpu, graph_of};
use std::collections::{HashMap, HashSet};
use tilewright_device::{Caps, Gpu, GpuOptions};
use tilewright_graph::lower::Derived;
use tilewright_graph::stage::Schedule;
use tilewright_graph::{Bindings, Case, Error, Fact, Model, ModelOptions, Op, Session};
use tilewright_graph::{bind, passes, samples};
use tilewright_tensor::{DType, HostTensor};

/// The shaders of a case's plan with their parts; nothing for a case whose shapes only a run can tell.
fn shaders(case: &Case, caps: &Caps) -> Result<Vec<String>, Error> {
    let facts: Vec<_> = (case.inputs.iter())
        .map(|t| t.clone().map(Fact::of))
        .collect();
    let facts: Vec<_> = facts.iter().map(Option::as_ref).collect();
    let graph = graph_of(case, case.op.infer(&facts)?.len())?;
    let graph = passes::device(&graph, caps)?;
    let schedule = Schedule::new(&graph, Some(caps))?;
    let bindings = Bindings::default();
    let plan = bind::bind(&graph, &schedule, &bindings, caps, &Derived::default())?;
    let variants = plan.dispatches().map(|dispatch| &dispatch.variant);
    Ok(variants
        .map(|v| format!("{} {}", v.shader, v.parts.join(" ")))
        .collect())
}

fn check_all(options: GpuOptions) {
    let Some(gpu) = gpu(options.audited()) else {
        return;
    };
    let all = std::env::var_os("TILEWRIGHT_AUDIT").is_some_and(|value| value == "1");
    let (mut failures, mut ran, mut seen) = (vec![], 0, HashSet::new());
    for (i, case) in Op::cases().iter().enumerate() {
        let mut wanted = all || i % 20 == 0;
        for shader in shaders(case, gpu.caps()).unwrap_or_default() {
            wanted |= seen.insert(shader);
        }
        if !wanted {
            continue;
        }
        let name = format!("{} `{}`", case.op.name(), case.name);
        match check_steps(case, &gpu) {
            Ok(steps) => ran += usize::from(steps.is_empty()),
            Err(e) => failures.push(format!("{name}: {e}")),
        }
        let faults = pollster::block_on(gpu.audit()).unwrap();
        failures.extend(faults.iter().map(|fault| format!("{name}: {fault}")));
    }
    let (programs, shaders) = (gpu.program_count(), seen.len());
    println!("{ran} cases on the device: {programs} programs, {shaders} shaders with parts");
    assert!(
        failures.is_empty(),
        "{} faults:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn cases_keep_to_their_bounds_on_the_adapter() {
    check_all(GpuOptions::new());
}

#[test]
fn cases_keep_to_their_bounds_on_default_limits() {
    check_all(GpuOptions::new().default_limits_only());
}

/// Integers that mean nothing where they are indices, lengths or counts: far below and above every range, and around it.
const RANGES: [(i64, i64); 3] = [(-(1 << 31), 0), (0, (1 << 31) - 1), (-40, 40)];

fn hostile(t: &HostTensor, (low, high): (i64, i64)) -> HostTensor {
    let (low, high) = match t.dtype() {
        DType::I32 | DType::I64 => (low, high),
        // The same bits.
        DType::U32 if high == 0 => (1 << 31, 1 << 32),
        DType::U32 => (0, high),
        _ => return t.clone(),
    };
    samples::integers(t.dtype(), t.shape(), 9, low, high)
}

/// Runs a case with such inputs; what it computes, and whether it refuses them, does not matter here.
fn run_hostile(case: &Case, gpu: &Gpu, range: (i64, i64)) {
    let Ok(graph) = graph_of(case, outputs(case)) else {
        return;
    };
    let model = Model::new(graph, gpu, ModelOptions::default());
    let Ok(mut session) = Session::new(&model) else {
        return;
    };
    let fed = fed(case);
    let fed: Vec<_> = (fed.iter())
        .map(|(n, t)| (n.as_str(), hostile(t, range)))
        .collect();
    drop(pollster::block_on(session.run(&fed)));
}

fn outputs(case: &Case) -> usize {
    let args: Vec<Option<&HostTensor>> = case.inputs.iter().map(Option::as_ref).collect();
    case.op.reference(&args).map_or(1, |outputs| outputs.len())
}

/// Values that index memory come from whoever feeds a model.
#[test]
fn integers_without_meaning_stay_in_bounds() {
    let Some(gpu) = gpu(GpuOptions::new().audited()) else {
        return;
    };
    let (mut failures, mut ran) = (vec![], HashMap::new());
    for case in Op::cases() {
        let integers = [DType::I32, DType::I64, DType::U32];
        let fed = fed(&case);
        let counted: &mut u32 = ran.entry(case.op.name()).or_default();
        if *counted == 2 || !fed.iter().any(|(_, t)| integers.contains(&t.dtype())) {
            continue;
        }
        *counted += 1;
        for range in RANGES {
            run_hostile(&case, &gpu, range);
            let faults = pollster::block_on(gpu.audit()).unwrap();
            let name = format!("{} `{}`", case.op.name(), case.name);
            failures.extend(faults.iter().map(|fault| format!("{name}: {fault}")));
        }
    }
    let operators = ran.values().filter(|count| **count > 0).count();
    assert!(operators > 20, "{operators}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
