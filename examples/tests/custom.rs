//! An operator from outside: the reader, errors, folding and merging, the host device.

use std::sync::Arc;

use tilewright::graph::{Attrs, CustomOp, Error, Fact, Graph, Op, host, samples};
use tilewright::onnx::{self, NoExternalData, ReadOptions, Registry};
use tilewright::{DType, HostTensor, Model, ModelOptions, Session, block_on};
use tilewright_examples::gated::GatedUnit;
use tilewright_examples::models;

fn options() -> ReadOptions {
    let mut registry = Registry::default();
    GatedUnit::register(&mut registry);
    ReadOptions::new().registry(registry)
}

fn read(alpha: f32, beta: &[f32]) -> onnx::Result<Graph> {
    let beta = HostTensor::from_slice([beta.len()], beta).unwrap();
    let file = models::gated(alpha, &beta).unwrap();
    onnx::read_model_with(file.clone(), &NoExternalData, &options())
}

fn gated(alpha: f32) -> Op {
    let op: Arc<dyn CustomOp> = Arc::new(GatedUnit { alpha });
    op.into()
}

/// y = 2 (x + 1) / (1 + e^-(alpha (x + 1) + beta)).
fn formula(x: f32, alpha: f32, beta: f32) -> f64 {
    let [x, alpha, beta] = [x, alpha, beta].map(f64::from);
    2.0 * (x + 1.0) / (1.0 + (-(alpha * (x + 1.0) + beta)).exp())
}

#[test]
fn on_the_host() {
    let (alpha, beta) = (-0.7, [0.25, -3.0]);
    let graph = read(alpha, &beta).unwrap();
    let model = Model::host(graph, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    for shape in [[1, 2, 1], [3, 2, 5]] {
        let x = samples::between(&shape, 1, -4.0, 4.0);
        let outputs = block_on(session.run(&[("x", x.clone())])).unwrap();
        assert_eq!(outputs[0].1.shape(), x.shape());
        let (x, y) = (x.to_vec::<f32>().unwrap(), outputs[0].1.to_f64());
        for (i, (x, y)) in x.iter().zip(y).enumerate() {
            let expected = formula(*x, alpha, beta[i / shape[2] % 2]);
            assert!((y - expected).abs() < 1e-6, "{i}: {y}, expected {expected}");
        }
    }
}

#[test]
fn the_reader_names_what_it_does_not_know() {
    let beta = HostTensor::from_slice([1], &[0f32]).unwrap();
    let file = models::gated(1.0, &beta).unwrap();
    let error = onnx::read_model(file.clone(), &NoExternalData).unwrap_err();
    let text = error.to_string();
    let onnx::Error::UnknownOperator {
        name,
        domain,
        opset,
        node,
    } = error
    else {
        panic!("{text}");
    };
    assert_eq!((&*name, &*domain, opset), ("GatedUnit", "here", 1));
    assert_eq!(node, "here.GatedUnit `gate`");
    for part in [&*name, &*domain, &*node, "opset 1"] {
        assert!(text.contains(part), "{text}");
    }
    // What is registered counts by domain and name, not by name alone.
    let mut registry = Registry::default();
    let make = |_: &Attrs| -> Result<Arc<dyn CustomOp>, Error> { unreachable!("another domain") };
    registry.insert("there", "GatedUnit", Box::new(make));
    let options = ReadOptions::new().registry(registry);
    let error = onnx::read_model_with(file.clone(), &NoExternalData, &options).unwrap_err();
    assert!(
        matches!(error, onnx::Error::UnknownOperator { .. }),
        "{error}"
    );
}

#[test]
fn errors_have_its_own_name() {
    let mut graph = Graph::new();
    let x = Fact::sized(DType::F32, &[2, 3, 4]);
    let x = graph.input("x", Some(x)).unwrap();
    for (beta, what) in [
        (samples::uniform(&[4], 1), "channels are 3 and 4"),
        (samples::uniform(&[3, 1], 1), "got f32[3, 1]"),
        (samples::ints(&[1, 2, 3]), "got i64[3]"),
    ] {
        let beta = graph.constant(beta);
        let error = graph.add_node(gated(1.0), &[Some(x), Some(beta)], "gate", 1);
        let text = error.unwrap_err().to_string();
        let own = "node `gate` (here:GatedUnit): here:GatedUnit: ";
        assert!(text.starts_with(own) && text.contains(what), "{text}");
    }
    let error = graph.add_node(gated(1.0), &[Some(x)], "gate", 1);
    let text = error.unwrap_err().to_string();
    assert!(
        text.ends_with("here:GatedUnit: input 1 is missing"),
        "{text}"
    );
}

#[test]
fn equal_ones_merge_and_others_do_not() {
    let mut graph = Graph::new();
    let x = graph
        .input("x", Some(Fact::sized(DType::F32, &[2, 3])))
        .unwrap();
    let beta = graph.constant(samples::uniform(&[3], 1));
    let one = graph.add1(gated(1.0), &[x, beta]).unwrap();
    assert_eq!(graph.add1(gated(1.0), &[x, beta]).unwrap(), one);
    assert_ne!(graph.add1(gated(2.0), &[x, beta]).unwrap(), one);
}

/// One that was registered in the place of an operator of the engine is not that operator.
#[derive(Clone, Debug)]
struct OwnRelu;

impl CustomOp for OwnRelu {
    fn name(&self) -> &'static str {
        "Relu"
    }
    fn attrs(&self) -> Attrs {
        Attrs::new("Relu")
    }
    fn infer(&self, inputs: tilewright::graph::fact::Facts<'_>) -> Result<Vec<Fact>, Error> {
        Ok(vec![inputs.req(0)?.clone()])
    }
    fn reference(
        &self,
        inputs: tilewright::graph::fact::Tensors<'_>,
    ) -> Result<Vec<HostTensor>, Error> {
        Ok(vec![inputs.req(0)?.clone()])
    }
}

#[test]
fn a_replacement_is_not_what_it_replaces() {
    let own: Arc<dyn CustomOp> = Arc::new(OwnRelu);
    let (own, relu) = (
        Op::from(own),
        Op::from_name("Relu", &Attrs::new("Relu")).unwrap(),
    );
    assert_eq!((own.name(), own.attrs()), (relu.name(), relu.attrs()));
    assert_ne!(own, relu);
    let mut graph = Graph::new();
    let x = graph
        .input("x", Some(Fact::sized(DType::F32, &[3])))
        .unwrap();
    for (name, op) in [("own", own), ("relu", relu)] {
        let y = graph.add1(op, &[x]).unwrap();
        graph.output(name, y);
    }
    let x = HostTensor::from_slice([3], &[-1f32, 0.0, 2.0]).unwrap();
    let model = Model::host(graph, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let outputs = block_on(session.run(&[("x", x.clone())])).unwrap();
    assert_eq!(outputs[0].1, x);
    assert_eq!(outputs[1].1.to_vec::<f32>().unwrap(), [0.0, 0.0, 2.0]);
}

#[test]
fn constants_fold() {
    let mut graph = Graph::new();
    let x = graph.constant(samples::between(&[2, 3], 2, -4.0, 4.0));
    let beta = graph.constant(samples::uniform(&[3], 1));
    let y = graph.add1(gated(1.0), &[x, beta]).unwrap();
    graph.output("y", y);
    let expected = host::run(&graph, &[]).unwrap();
    let model = Model::host(graph, ModelOptions::default());
    let session = Session::new(&model).unwrap();
    let (_, y) = session.graph().outputs()[0].clone();
    let folded = session.graph().fact(y).and_then(Fact::constant);
    assert_eq!(folded, Some(&expected[0]));
}
