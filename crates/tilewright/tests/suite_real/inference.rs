//! Inferred facts beside what models say of their own values.

use prost::Message;
use std::collections::{HashMap, HashSet};

use tilewright::graph::{Dim, Fact, Symbol};
use tilewright::onnx::proto::{GraphProto, ModelProto, ValueInfoProto};
use tilewright::onnx::{
    Error, ModelDir, Size, ValueInfo, decode_model, read_model, read_value_info,
};

use super::models::{Test, folders, real, suite};

/// What a model says of the values that its nodes make. Tools that fuse nodes leave words on values that are no more.
fn told(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let made: HashSet<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
    let all = graph.value_info.iter().chain(&graph.output);
    all.filter(|info| info.name.as_ref().is_some_and(|name| made.contains(name)))
        .collect()
}

/// What is inferred of values by their names: of the model with all of them as its outputs.
fn inferred(test: &Test, mut model: ModelProto) -> Result<HashMap<String, Option<Fact>>, Error> {
    let mut graph = model.graph.take().unwrap_or_default();
    let mut names: Vec<ValueInfoProto> = told(&graph).into_iter().cloned().collect();
    names.sort_by(|a, b| a.name().cmp(b.name()));
    names.dedup_by(|a, b| a.name() == b.name());
    graph.output = names;
    model.graph = Some(graph);
    let graph = read_model(model.encode_to_vec(), &ModelDir::of_model(test.path()))?;
    let outputs = graph.outputs().iter();
    Ok(outputs
        .map(|(name, value)| (name.to_string(), graph.fact(*value).cloned()))
        .collect())
}

/// How a fact contradicts what is told. A number must be that number; a name that the inputs bear must be that size.
fn contradiction(told: &ValueInfo, fact: &Fact, symbols: &[Symbol]) -> Option<String> {
    let differs = |what: String| Some(format!("`{}` is {fact}: {what}", told.name));
    if fact.dtype != told.dtype {
        return differs(format!("told to be {}", told.dtype));
    }
    let sizes = told.sizes.as_ref()?;
    if fact.rank() != sizes.len() {
        return differs(format!("told to have {} axes", sizes.len()));
    }
    let agrees = |dim: &Dim, size: &Size| match size {
        Size::Known(n) => dim.known() == Some(*n as i64),
        Size::Named(name) => !symbols.iter().any(|s| s.name() == name) || *dim == Dim::symbol(name),
        Size::Unknown => true,
    };
    let axis = fact
        .shape
        .iter()
        .zip(sizes)
        .position(|(dim, size)| !agrees(dim, size))?;
    differs(format!("told to have {} along axis {axis}", sizes[axis]))
}

/// Sums over models.
#[derive(Debug, Default)]
struct Tally {
    models: usize,
    /// Of operators or types that are not there.
    unread: Vec<String>,
    values: usize,
    /// Not known before the model runs.
    late: Vec<String>,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, test: &Test) {
        let read = decode_model(std::fs::read(test.path()).unwrap()).and_then(|model| {
            let graph = model.graph.clone().unwrap_or_default();
            Ok((graph, inferred(test, model)?))
        });
        let (graph, facts) = match read {
            Ok(read) => read,
            Err(e) => return self.unread.push(format!("{}: {e}", test.name)),
        };
        self.models += 1;
        let symbols = graph
            .input
            .iter()
            .filter_map(|i| read_value_info(i).ok()??.sizes);
        let symbols: Vec<Symbol> = symbols
            .flatten()
            .filter_map(|size| match size {
                Size::Named(name) => Some(Symbol::new(&name)),
                _ => None,
            })
            .collect();
        for told in told(&graph)
            .into_iter()
            .filter_map(|i| read_value_info(i).ok()?)
        {
            self.values += 1;
            match facts.get(&told.name).and_then(Option::as_ref) {
                Some(fact) => {
                    let wrong = contradiction(&told, fact, &symbols);
                    self.wrong
                        .extend(wrong.map(|w| format!("{}: {w}", test.name)));
                }
                None => self.late.push(format!("{}: `{}`", test.name, told.name)),
            }
        }
    }
}

#[test]
fn facts_agree_with_what_real_models_say() {
    let mut tally = Tally::default();
    real().iter().for_each(|test| tally.add(test));
    println!(
        "{} values of {} models, late: {:?}",
        tally.values, tally.models, tally.late
    );
    assert!(tally.unread.is_empty(), "{}", tally.unread.join("\n"));
    // How many boxes are left is known when they have been compared.
    let boxes = ["out0", "out1", "out2"].map(|name| format!("yolo_nms: `{name}`"));
    assert_eq!(tally.late, boxes);
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
}

#[test]
fn facts_agree_with_what_the_other_models_say() {
    let mut tally = Tally::default();
    for kind in folders(&suite()) {
        folders(&kind)
            .into_iter()
            .map(Test::new)
            .for_each(|test| tally.add(&test));
    }
    let (late, unread) = (tally.late.len(), tally.unread.len());
    println!(
        "{} values of {} models, {late} late; {unread} not read",
        tally.values, tally.models
    );
    // Those that are not are of sequences, strings, float8 and training: out of scope.
    assert!(tally.models >= 1450, "{}", tally.unread.join("\n"));
    assert!(
        tally.wrong.is_empty(),
        "{} wrong:\n{}",
        tally.wrong.len(),
        tally.wrong.join("\n")
    );
}
