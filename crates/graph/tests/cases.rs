//! Every operator's cases on the host: inference agrees with the reference, attributes survive a round trip, and
//! symbolic sizes give what plain sizes give.

use tilewright_graph::{Bindings, Case, Dim, Fact, Graph, Op, Symbol};
use tilewright_tensor::HostTensor;

/// Inference from facts in which constants are known.
fn inferred(case: &Case) -> Result<Vec<Fact>, tilewright_graph::Error> {
    let facts: Vec<Option<Fact>> = case
        .inputs
        .iter()
        .map(|t| t.clone().map(Fact::of))
        .collect();
    case.op
        .infer(&facts.iter().map(Option::as_ref).collect::<Vec<_>>())
}

fn referenced(case: &Case) -> Vec<HostTensor> {
    let inputs: Vec<Option<&HostTensor>> = case.inputs.iter().map(Option::as_ref).collect();
    case.op
        .reference(&inputs)
        .unwrap_or_else(|e| panic!("{} `{}`: {e}", case.op.name(), case.name))
}

#[test]
fn inference_agrees_with_the_reference() {
    for case in Op::cases() {
        let title = format!("{} `{}`", case.op.name(), case.name);
        let facts = match inferred(&case) {
            Ok(facts) => facts,
            Err(e) if e.is_late() => continue,
            Err(e) => panic!("{title}: {e}"),
        };
        let values = referenced(&case);
        assert_eq!(facts.len(), values.len(), "{title}: number of outputs");
        for (i, (fact, value)) in facts.iter().zip(&values).enumerate() {
            assert_eq!(fact.dtype, value.dtype(), "{title}: dtype of output {i}");
            let shape = fact.bind(&Bindings::default()).unwrap();
            assert_eq!(
                &shape[..],
                &value.shape()[..],
                "{title}: shape of output {i}"
            );
        }
    }
}

#[test]
fn attributes_survive_a_round_trip() {
    for case in Op::cases() {
        let attrs = case.op.attrs();
        let again = Op::from_name(case.op.name(), &attrs)
            .unwrap_or_else(|e| panic!("{} `{}`: {e}", case.op.name(), case.name));
        assert_eq!(again.attrs(), attrs, "{} `{}`", case.op.name(), case.name);
    }
}

/// Run-time inputs get one symbol for each distinct size, so equal sizes stay equal.
#[test]
fn symbolic_sizes_bind_to_the_plain_result() {
    for case in Op::cases() {
        let title = format!("{} `{}`", case.op.name(), case.name);
        let mut graph = Graph::new();
        let mut bindings = Bindings::default();
        let inputs: Vec<_> = (case.inputs.iter().enumerate())
            .map(|(i, t)| {
                let t = t.as_ref()?;
                if case.constant.contains(&i) {
                    return Some(graph.constant(t.clone()));
                }
                let dims: Vec<Dim> = (t.shape().iter())
                    .map(|&n| {
                        if n < 2 {
                            return n.into();
                        }
                        bindings.set(Symbol::new(&format!("n{n}")), n as i64);
                        Dim::symbol(&format!("n{n}"))
                    })
                    .collect();
                Some(
                    graph
                        .input(&format!("x{i}"), Some(Fact::new(t.dtype(), dims)))
                        .unwrap(),
                )
            })
            .collect();
        let expected = referenced(&case);
        let outputs = graph
            .add_node(case.op.clone(), &inputs, "", expected.len())
            .unwrap_or_else(|e| panic!("{title}: {e}"));
        for (i, (value, expected)) in outputs.iter().zip(&expected).enumerate() {
            let Some(fact) = graph.fact(*value) else {
                continue;
            };
            let shape = fact
                .bind(&bindings)
                .unwrap_or_else(|e| panic!("{title}: output {i}: {e}"));
            assert_eq!(
                &shape[..],
                &expected.shape()[..],
                "{title}: output {i} of {fact}"
            );
        }
    }
}
