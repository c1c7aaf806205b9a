//! The plans of the real models: what they leave to the host, and their memory beside what lifetimes need at least.

use tilewright::{Gpu, Session};

use super::models::{adapter, default_limits, real};

/// The nodes whose output shapes depend on data, by model and operator: how many boxes survive is known when they have
/// been compared. Whatever else is on the host is a gap.
const DATA_DEPENDENT: [(&str, &str); 1] = [("yolo_nms", "NonMaxSuppression")];

/// What a plan may take over the largest sum of tensors that live at once.
const MOST: f64 = 1.25;

/// The same over all models, as a geometric mean.
const MOST_IN_MEAN: f64 = 1.1;

/// The arena over its lower bound, of the plan where that is most.
fn excess(session: &Session) -> f64 {
    let plans = session.plans();
    assert!(!plans.is_empty(), "there is no plan");
    // Parts that are planned late share the arena with the part before them, but each has a bound of its own.
    let ratio = |arena: u64, bound: u64| {
        if arena == bound {
            1.0
        } else {
            arena as f64 / bound as f64
        }
    };
    plans
        .iter()
        .map(|plan| ratio(plan.arena, plan.lower_bound))
        .fold(1.0, f64::max)
}

fn check(gpu: &Gpu) {
    let (mut on_host, mut over, mut logarithms) = (vec![], vec![], 0.0);
    let tests = real();
    for test in &tests {
        let session = test.run_on(gpu);
        for step in session.host_steps() {
            println!(
                "{}: {} `{}` is on the host: {}",
                test.name, step.op, step.node, step.reason
            );
            on_host.push((test.name.clone(), step.op));
        }
        let (excess, peak) = (
            excess(&session),
            session.plans().iter().map(|plan| plan.arena).max(),
        );
        println!(
            "{:<22} {:>6} KiB, {excess:.3} of the bound",
            test.name,
            peak.unwrap_or_default() >> 10
        );
        logarithms += excess.ln();
        if excess > MOST {
            over.push(format!("{}: {excess:.3}", test.name));
        }
    }
    let mean = (logarithms / tests.len() as f64).exp();
    println!("geometric mean {mean:.4} over {} models", tests.len());
    assert_eq!(
        on_host,
        DATA_DEPENDENT.map(|(model, op)| (model.to_owned(), op.to_owned()))
    );
    assert!(
        over.is_empty(),
        "over {MOST} of the bound: {}",
        over.join(", ")
    );
    assert!(mean <= MOST_IN_MEAN, "{mean:.4} of the bound in the mean");
}

#[test]
fn plans_need_no_host_and_little_memory() {
    check(&adapter());
}

#[test]
fn plans_on_default_limits_need_no_more() {
    check(&default_limits());
}
