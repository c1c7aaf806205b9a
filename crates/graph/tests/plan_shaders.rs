//! Every operator's cases, planned for several kinds of adapter: no dispatch binds overlapping ranges of the arena, and
//! every shader, with the access modes that the plan gives it, passes naga and keeps the adapter's limits.

mod common;
#[expect(dead_code, reason = "it serves the tests of the kernels too")]
#[path = "../../kernels/tests/common/shader.rs"]
mod shader;

use shader::{check_shared, discrete, dump, software};
use std::collections::HashSet;
use tilewright_device::{Caps, Dispatch, assemble};
use tilewright_graph::lower::{Derived, SlotUse};
use tilewright_graph::plan::Plan;
use tilewright_graph::stage::Schedule;
use tilewright_graph::{Attrs, Bindings, Case, Error, Fact, Graph, Op, bind, passes, samples};
use tilewright_tensor::DType;

fn graph_of(case: &Case) -> Result<Graph, Error> {
    let facts: Vec<_> = case
        .inputs
        .iter()
        .map(|t| t.clone().map(Fact::of))
        .collect();
    let facts: Vec<_> = facts.iter().map(Option::as_ref).collect();
    // Where sizes depend on data only a run can tell; those nodes are late and have no plan yet.
    let outputs = match case.op.infer(&facts) {
        Ok(outputs) => outputs.len(),
        Err(e) if e.is_late() => 1,
        Err(e) => return Err(e),
    };
    common::graph_of(case, outputs)
}

fn plan_of(graph: &Graph, caps: &Caps) -> Result<Plan, Error> {
    let graph = passes::device(graph, caps)?;
    let schedule = Schedule::new(&graph, Some(caps))?;
    let bindings = Bindings::default();
    bind::bind(&graph, &schedule, &bindings, caps, &Derived::default())
}

/// The bindings that lie in the arena, as a mask; none of their ranges overlap, for all of them are bound read_write.
fn in_arena(plan: &Plan, caps: &Caps, dispatch: &Dispatch) -> u32 {
    let source = assemble(&dispatch.variant).unwrap_or_else(|e| panic!("{dispatch}\n{e}"));
    let (mut mask, mut ranges) = (0, vec![]);
    for (name, span) in &dispatch.spans {
        let root = plan.root(span.slot);
        let SlotUse::Arena { .. } = plan.slots[root.0 as usize] else {
            continue;
        };
        let bit = source.bindings().iter().position(|b| b.name == *name);
        mask |= 1 << bit.unwrap_or_else(|| panic!("{dispatch}: no binding {name}"));
        let start = plan.offsets[root.0 as usize] + span.offset;
        let end = start + span.bytes.max(1).next_multiple_of(16);
        assert!(
            end <= plan.arena,
            "{dispatch}: {name} ends behind the arena"
        );
        assert_eq!(
            start % u64::from(caps.limits.storage_align),
            0,
            "{dispatch}: {name}"
        );
        ranges.push((start, end, name));
    }
    ranges.sort();
    for pair in ranges.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        assert!(a.1 <= b.0, "{dispatch}: {} and {} overlap", a.2, b.2);
    }
    mask
}

fn check_all(caps: &Caps) {
    let (mut seen, mut dispatches, mut planned) = (HashSet::new(), 0, 0);
    let mut cases = Op::cases();
    if caps.f16 {
        let halves: Vec<Case> = cases.iter().filter_map(Case::halved).collect();
        cases.extend(halves);
    }
    for case in cases {
        let title = format!("{} `{}`", case.op.name(), case.name);
        let graph = graph_of(&case).unwrap_or_else(|e| panic!("{title}: {e}"));
        let plan = plan_of(&graph, caps).unwrap_or_else(|e| panic!("{title}: {e}"));
        planned += usize::from(plan.dispatches().next().is_some());
        for dispatch in plan.dispatches() {
            let mask = in_arena(&plan, caps, dispatch);
            dispatches += 1;
            if seen.insert((dispatch.variant.to_string(), mask)) {
                let text = check_shared(caps, dispatch, mask);
                // Only these limits are a browser's.
                if *caps == Caps::webgpu_default() {
                    dump(dispatch, &text);
                }
            }
        }
    }
    println!(
        "{:?}: {planned} cases planned, {dispatches} dispatches, {} shaders",
        caps.kind,
        seen.len()
    );
    assert!(planned > 500, "only {planned} cases have dispatches");
}

#[test]
fn plans_of_default_limits() {
    check_all(&Caps::webgpu_default());
}

#[test]
fn plans_of_software_adapters() {
    check_all(&software(8));
}

#[test]
fn plans_of_software_adapters_with_f16() {
    let mut caps = software(8);
    caps.f16 = true;
    check_all(&caps);
}

#[test]
fn plans_of_discrete_adapters() {
    check_all(&discrete());
}

/// Operators that models spend their time in; none of them needs f32 in the place of f16.
const HALF: &[&str] = &[
    "MatMul",
    "Gemm",
    "Conv",
    "ConvTranspose",
    "Fused",
    "Attention",
    "Softmax",
    "LogSoftmax",
    "LayerNormalization",
    "RMSNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Transpose",
    "Slice",
    "Split",
    "Concat",
    "Expand",
    "Tile",
    "Pad",
    "Gather",
    "GatherElements",
    "GatherND",
    "DepthToSpace",
    "Resize",
    "BsrMatMul",
];

fn shaders_of(graph: &Graph, caps: &Caps) -> Vec<&'static str> {
    let plan = plan_of(graph, caps).unwrap();
    plan.dispatches().map(|d| d.variant.shader).collect()
}

#[test]
fn f16_is_not_cast_for_the_operators_that_count() {
    for &name in HALF {
        let mut cases = 0;
        // The scores, which these cases ask for too, are computed in f32.
        let most = usize::from(name == "Attention");
        let own = Op::cases().into_iter().filter(|c| c.op.name() == name);
        for case in own.filter_map(|case| case.halved()) {
            let shaders = shaders_of(&graph_of(&case).unwrap(), &discrete());
            let casts = shaders.iter().filter(|s| **s == "map").count();
            assert!(casts <= most, "{name} `{}`: {shaders:?}", case.name);
            cases += usize::from(!shaders.is_empty());
        }
        assert!(cases > 0, "{name} has no case of f16");
    }
}

#[test]
fn f16_is_fused_to_products() {
    let mut graph = Graph::new();
    let halves = |shape: &[usize], seed| {
        let t = samples::uniform(shape, seed);
        t.cast(DType::F16).unwrap()
    };
    let x = Fact::sized(DType::F16, &[5, 8]);
    let x = graph.input("x", Some(x)).unwrap();
    let (w, b) = (halves(&[8, 12], 1), halves(&[12], 2));
    let (w, b) = (graph.constant(w), graph.constant(b));
    let op = |name: &str| Op::from_name(name, &Attrs::new(name)).unwrap();
    let y = graph.add1(op("MatMul"), &[x, w]).unwrap();
    let y = graph.add1(op("Add"), &[y, b]).unwrap();
    let y = graph.add1(op("Gelu"), &[y]).unwrap();
    graph.output("y", y);
    for f16 in [false, true] {
        let mut caps = discrete();
        caps.f16 = f16;
        let plan = plan_of(&graph, &caps).unwrap();
        assert_eq!(plan.dispatches().count(), 1, "{plan}");
        let each = if f16 { 2 } else { 4 };
        let bytes = |name| {
            let mut spans = plan.dispatches().flat_map(|d| &d.spans);
            spans.find(|(n, _)| *n == name).unwrap().1.bytes
        };
        assert_eq!([bytes("A"), bytes("C")], [40 * each, 60 * each]);
    }
}
