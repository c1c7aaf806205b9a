//! Every operator's cases, planned for several kinds of adapter: no dispatch binds overlapping ranges of the arena, and
//! every shader, with the access modes that the plan gives it, passes naga and keeps the adapter's limits.

mod common;
#[expect(dead_code, reason = "it serves the tests of the kernels too")]
#[path = "../../kernels/tests/common/shader.rs"]
mod shader;

use common::hosted::Hosted;
use shader::{check_shared, dump};
use std::collections::HashSet;
use tilewright_device::{Caps, Dispatch, assemble};
use tilewright_graph::lower::{Derived, Place, SlotUse};
use tilewright_graph::plan::Plan;
use tilewright_graph::stage::Schedule;
use tilewright_graph::{
    Attrs, Bindings, Case, Error, Fact, Graph, HostStep, Op, bind, passes, samples,
};
use tilewright_tensor::{DType, HostTensor};

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
    Ok(scheduled(graph, caps)?.0)
}

/// A plan, with the schedule behind it and the graph after passes.
fn scheduled(graph: &Graph, caps: &Caps) -> Result<(Plan, Schedule, Graph), Error> {
    let graph = passes::device(graph, caps)?;
    let schedule = Schedule::new(&graph, Some(caps))?;
    let bindings = Bindings::default();
    let plan = bind::bind(&graph, &schedule, &bindings, caps, &Derived::default())?;
    Ok((plan, schedule, graph))
}

/// What becomes of a case.
#[derive(Default)]
struct Planned {
    plans: Vec<Plan>,
    hosted: Vec<HostStep>,
    /// Some node has its place on the device.
    device: bool,
}

impl Planned {
    fn of(case: &Case, caps: &Caps) -> Result<Planned, Error> {
        let mut planned = Planned::default();
        let (after, schedule) = planned.add(&graph_of(case)?, caps)?;
        let Some(late) = schedule.late else {
            return Ok(planned);
        };
        // A case has one node: what its late part takes are inputs, unless something is computed first.
        let fed = common::fed(case);
        let taken = late.takes.iter().map(|v| {
            let at = after.inputs().iter().position(|(_, input)| input == v);
            at.map(|at| fed[at].1.clone())
        });
        if let Some(taken) = taken.collect::<Option<Vec<_>>>() {
            planned.add(&late.specialise(&taken)?, caps)?;
        }
        Ok(planned)
    }

    fn add(&mut self, graph: &Graph, caps: &Caps) -> Result<(Graph, Schedule), Error> {
        let (plan, schedule, after) = scheduled(graph, caps)?;
        self.plans.push(plan);
        for (node, place) in after.nodes().iter().zip(&schedule.places) {
            match place {
                Some(Place::Host(reason)) => self.hosted.push(HostStep {
                    node: node.name.to_string(),
                    op: node.op.name().to_owned(),
                    reason: reason.to_string(),
                }),
                place => self.device |= *place == Some(Place::Device),
            }
        }
        Ok((after, schedule))
    }

    fn dispatches(&self) -> impl Iterator<Item = (&Plan, &Dispatch)> {
        let plans = self.plans.iter();
        plans.flat_map(|plan| plan.dispatches().map(move |d| (plan, d)))
    }
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
    let (mut seen, mut hosted, mut dispatches) = (HashSet::new(), Hosted::default(), 0);
    let mut cases = Op::cases();
    if caps.f16 {
        let halves: Vec<Case> = cases.iter().filter_map(Case::halved).collect();
        cases.extend(halves);
    }
    for case in cases {
        let title = format!("{} `{}`", case.op.name(), case.name);
        let planned = Planned::of(&case, caps).unwrap_or_else(|e| panic!("{title}: {e}"));
        hosted.note(&case, &planned.hosted);
        let idle = planned.dispatches().next().is_none();
        assert!(
            !(idle && planned.device) || is_empty(&case),
            "{title}: has no dispatches"
        );
        for (plan, dispatch) in planned.dispatches() {
            let mask = in_arena(plan, caps, dispatch);
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
        "{:?}: {dispatches} dispatches, {} shaders",
        caps.kind,
        seen.len()
    );
    hosted.listed();
}

/// True if nothing has to be computed for a case: it makes no elements.
fn is_empty(case: &Case) -> bool {
    let inputs: Vec<_> = case.inputs.iter().map(Option::as_ref).collect();
    let outputs = case.op.reference(&inputs);
    outputs.is_ok_and(|outputs| outputs.iter().all(HostTensor::is_empty))
}

#[test]
fn plans_of_default_limits() {
    check_all(&Caps::webgpu_default());
}

#[test]
fn plans_of_software_adapters() {
    check_all(&Caps::software(8));
}

#[test]
fn plans_of_software_adapters_with_f16() {
    let mut caps = Caps::software(8);
    caps.f16 = true;
    check_all(&caps);
}

#[test]
fn plans_of_discrete_adapters() {
    check_all(&Caps::discrete());
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
fn long_sums_of_few_outputs_are_split_on_gpus_alone() {
    let cases = Op::cases();
    let split = |name: &str, caps: &Caps| {
        let mut own = cases
            .iter()
            .filter(|case| ["MatMul", "Conv"].contains(&case.op.name()));
        let case = own.find(|case| case.name == name).unwrap();
        shaders_of(&graph_of(case).unwrap(), caps).contains(&"split_k")
    };
    let long = [
        "few outputs of long sums",
        "few rows of long sums",
        "3x3 by tiles of 2",
    ];
    for name in long {
        assert!(split(name, &Caps::discrete()) && split(name, &Caps::webgpu_default()));
        assert!(!split(name, &Caps::software(8)));
    }
    assert!(!split("beyond a tile", &Caps::discrete()));
}

#[test]
fn f16_is_not_cast_for_the_operators_that_count() {
    for &name in HALF {
        let mut cases = 0;
        // The scores, which these cases ask for too, are computed in f32.
        let most = usize::from(name == "Attention");
        let own = Op::cases().into_iter().filter(|c| c.op.name() == name);
        for case in own.filter_map(|case| case.halved()) {
            let shaders = shaders_of(&graph_of(&case).unwrap(), &Caps::discrete());
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
        let mut caps = Caps::discrete();
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
