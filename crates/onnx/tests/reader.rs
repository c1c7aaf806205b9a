//! What the reader makes of functions, subgraphs, declarations and operators that it does not know: by value, on the host.

mod common;

use common::{declared, model, named, node};
use tilewright_graph::{Attrs, Graph, host, samples};
use tilewright_onnx::proto::attribute_proto::AttributeType;
use tilewright_onnx::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};
use tilewright_onnx::{Error, NoExternalData, Result, encode_model, read_model, write_tensor};
use tilewright_tensor::{DType, HostTensor};

const OPSET: i64 = 21;

fn read(model: &ModelProto) -> Result<Graph> {
    read_model(encode_model(model), &NoExternalData)
}

fn run(model: &ModelProto, inputs: &[HostTensor]) -> Vec<HostTensor> {
    host::run(&read(model).unwrap(), inputs).unwrap()
}

/// A graph over f32 inputs of two elements.
fn graph(inputs: &[&str], node: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
    let two = samples::of(&[2], &[0f32, 0.0]);
    GraphProto {
        node,
        input: inputs.iter().map(|n| declared(n, &two, true)).collect(),
        output: outputs.iter().map(|n| named(n)).collect(),
        ..GraphProto::default()
    }
}

fn plain(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    node(&Attrs::new(op), inputs, output)
}

/// A call of a function of the domain `here`.
fn call(name: &str, attrs: Attrs, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(name.into()),
        domain: Some("here".into()),
        ..node(&attrs, inputs, output)
    }
}

fn function(name: &str, inputs: &[&str], node: Vec<NodeProto>) -> FunctionProto {
    let import = model(OPSET, GraphProto::default()).opset_import;
    FunctionProto {
        name: Some(name.into()),
        domain: Some("here".into()),
        input: inputs.iter().map(|&n| n.into()).collect(),
        output: vec!["out".into()],
        node,
        opset_import: import,
        ..FunctionProto::default()
    }
}

/// The attribute of a body's node that is the function's attribute `from`.
fn reference(mut node: NodeProto, name: &str, from: &str, kind: AttributeType) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        ref_attr_name: Some(from.into()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    });
    node
}

fn with(graph: GraphProto, functions: Vec<FunctionProto>) -> ModelProto {
    ModelProto {
        functions,
        ..model(OPSET, graph)
    }
}

fn floats(values: [f32; 2]) -> HostTensor {
    samples::of(&[2], &values)
}

fn body(node: NodeProto, name: &str, body: GraphProto) -> NodeProto {
    let mut node = node;
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(body),
        ..AttributeProto::default()
    });
    node
}

/// out = LeakyRelu(x, alpha = slope), slope being 0.5 unless the caller says another, or none at all.
fn leaky(default: bool) -> FunctionProto {
    let relu = plain("LeakyRelu", &["x"], "out");
    let relu = reference(relu, "alpha", "slope", AttributeType::Float);
    let mut leaky = function("Leaky", &["x"], vec![relu]);
    if default {
        leaky.attribute_proto = node(&Attrs::new("").with("slope", 0.5f32), &[], "").attribute;
    } else {
        leaky.attribute = vec!["slope".into()];
    }
    leaky
}

#[test]
fn attributes_of_functions_are_the_callers_or_the_defaults() {
    let slope = |slope: Option<f32>| {
        let attrs = Attrs::new("").with_opt("slope", slope);
        let call = call("Leaky", attrs, &["x"], "y");
        graph(&["x"], vec![call], &["y"])
    };
    let x = [floats([-4.0, 3.0])];
    for (given, default, expected) in [
        (Some(0.25), true, -1.0),
        (None, true, -2.0),
        (Some(0.25), false, -1.0),
        // LeakyRelu's own default.
        (None, false, -0.04),
    ] {
        let y = run(&with(slope(given), vec![leaky(default)]), &x);
        assert_eq!(y, [floats([expected, 3.0])], "{given:?}, {default}");
    }
}

#[test]
fn attributes_reach_functions_in_functions() {
    let inner = call("Leaky", Attrs::new(""), &["x"], "out");
    let inner = reference(inner, "slope", "outer", AttributeType::Float);
    let outer = function("Outer", &["x"], vec![inner]);
    let attrs = Attrs::new("").with("outer", 2.0f32);
    let main = graph(&["x"], vec![call("Outer", attrs, &["x"], "y")], &["y"]);
    let y = run(
        &with(main, vec![outer, leaky(true)]),
        &[floats([-4.0, 3.0])],
    );
    assert_eq!(y, [floats([-8.0, 3.0])]);
}

#[test]
fn functions_are_told_apart_by_their_overload() {
    let mut functions = vec![];
    for (overload, op) in [("", "Neg"), ("square", "Mul")] {
        let inputs: &[&str] = if op == "Mul" { &["x", "x"] } else { &["x"] };
        functions.push(FunctionProto {
            overload: Some(overload.into()),
            ..function("F", &["x"], vec![plain(op, inputs, "out")])
        });
    }
    let mut square = call("F", Attrs::new(""), &["x"], "b");
    square.overload = Some("square".into());
    let nodes = vec![call("F", Attrs::new(""), &["x"], "a"), square];
    let y = run(
        &with(graph(&["x"], nodes, &["a", "b"]), functions),
        &[floats([-4.0, 3.0])],
    );
    assert_eq!(y, [floats([4.0, -3.0]), floats([16.0, 9.0])]);
}

/// out = Clip(x, low, high); both bounds may be left out.
#[test]
fn inputs_of_functions_may_be_left_out() {
    let clip = function(
        "F",
        &["x", "low", "high"],
        vec![plain("Clip", &["x", "low", "high"], "out")],
    );
    for (inputs, expected) in [
        (&["x", "one"][..], [1.0, 3.0]),
        (&["x", "", "one"], [-4.0, 1.0]),
        (&["x"], [-4.0, 3.0]),
        (&["x", "", ""], [-4.0, 3.0]),
    ] {
        let mut main = graph(&["x"], vec![call("F", Attrs::new(""), inputs, "y")], &["y"]);
        main.initializer = vec![write_tensor("one", &HostTensor::scalar(1f32))];
        let y = run(&with(main, vec![clip.clone()]), &[floats([-4.0, 3.0])]);
        assert_eq!(y, [floats(expected)], "{inputs:?}");
    }
}

/// What the caller leaves out is left out in a branch of the body too.
#[test]
fn inputs_may_be_left_out_in_subgraphs_of_functions() {
    let choice = plain("If", &["c"], "out");
    let clip = graph(&[], vec![plain("Clip", &["x", "low"], "t")], &["t"]);
    let choice = body(choice, "then_branch", clip);
    let choice = body(
        choice,
        "else_branch",
        graph(&[], vec![plain("Neg", &["x"], "e")], &["e"]),
    );
    let f = function("F", &["c", "x", "low"], vec![choice]);
    for (inputs, expected) in [
        (&["c", "x"][..], [-4.0, 3.0]),
        (&["c", "x", "one"], [1.0, 3.0]),
    ] {
        let mut main = graph(&["x"], vec![call("F", Attrs::new(""), inputs, "y")], &["y"]);
        main.initializer = vec![
            write_tensor("one", &HostTensor::scalar(1f32)),
            write_tensor("c", &HostTensor::scalar(true)),
        ];
        let y = run(&with(main, vec![f.clone()]), &[floats([-4.0, 3.0])]);
        assert_eq!(y, [floats(expected)], "{inputs:?}");
    }
}

/// Branches that read an input, a node's result and an initialiser from around them, one of them two graphs out.
#[test]
fn subgraphs_capture_values_from_around_them() {
    let inner = body(
        body(
            plain("If", &["c"], "inner"),
            "then_branch",
            graph(&[], vec![plain("Mul", &["twice", "ten"], "a")], &["a"]),
        ),
        "else_branch",
        graph(&[], vec![plain("Sub", &["x", "local"], "b")], &["b"]),
    );
    let then = vec![
        plain("Neg", &["x"], "local"),
        inner,
        plain("Add", &["inner", "x"], "t"),
    ];
    let choice = body(
        body(
            plain("If", &["c"], "y"),
            "then_branch",
            graph(&[], then, &["t"]),
        ),
        "else_branch",
        graph(&[], vec![plain("Add", &["twice", "ten"], "e")], &["e"]),
    );
    let nodes = vec![plain("Add", &["x", "x"], "twice"), choice];
    let mut main = graph(&["x"], nodes, &["y"]);
    main.input
        .push(declared("c", &HostTensor::scalar(true), true));
    main.initializer = vec![write_tensor("ten", &HostTensor::scalar(10f32))];
    let model = model(OPSET, main);
    let x = floats([-4.0, 3.0]);
    let y = |c: bool| run(&model, &[x.clone(), HostTensor::scalar(c)]);
    assert_eq!(y(true), [floats([-84.0, 63.0])]);
    assert_eq!(y(false), [floats([2.0, 16.0])]);
}

/// A loop whose body reads what its iterations do not carry.
#[test]
fn loops_capture_values_from_around_them() {
    let long = |name: &str, t: HostTensor| declared(name, &t, true);
    let mut step = graph(
        &["s"],
        vec![plain("Mul", &["s", "x"], "next")],
        &["go", "next"],
    );
    step.input.insert(0, long("go", HostTensor::scalar(true)));
    step.input.insert(0, long("i", HostTensor::scalar(0i64)));
    let looped = body(plain("Loop", &["count", "", "x"], "y"), "body", step);
    let mut main = graph(&["x"], vec![looped], &["y"]);
    main.initializer = vec![write_tensor("count", &HostTensor::scalar(3i64))];
    let y = run(&model(OPSET, main), &[floats([-4.0, 3.0])]);
    assert_eq!(y, [floats([256.0, 81.0])]);
}

#[test]
fn unknown_operators_are_told_by_name_domain_opset_and_node() {
    let named = |mut node: NodeProto, name: &str| {
        node.name = Some(name.into());
        node
    };
    let of = |opset: i64, node: NodeProto| read(&model(opset, graph(&["x"], vec![node], &["y"])));
    let elsewhere = call("Frobnicate", Attrs::new(""), &["x"], "y");
    for (opset, node, expected) in [
        (
            18,
            named(plain("Frobnicate", &["x"], "y"), "n1"),
            ("Frobnicate", "", 18, "Frobnicate `n1`"),
        ),
        (
            18,
            plain("Frobnicate", &["x"], "y"),
            ("Frobnicate", "", 18, "Frobnicate -> `y`"),
        ),
        (
            18,
            named(elsewhere, "n2"),
            ("Frobnicate", "here", 1, "here.Frobnicate `n2`"),
        ),
        (
            999,
            plain("Relu", &["x"], "y"),
            ("Relu", "", 999, "Relu -> `y`"),
        ),
        // The engine's own are no file's.
        (18, plain("Map", &["x"], "y"), ("Map", "", 18, "Map -> `y`")),
    ] {
        let error = of(opset, node).unwrap_err();
        let Error::UnknownOperator {
            name,
            domain,
            opset,
            node,
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((&**name, &**domain, *opset, &**node), expected);
        let text = error.to_string();
        let domain = if domain.is_empty() { "ai.onnx" } else { domain };
        for part in [
            name.clone(),
            format!("`{domain}`"),
            opset.to_string(),
            node.clone(),
        ] {
            assert!(text.contains(&part), "{text}");
        }
    }
}

/// Until opset 7 statistics could be those of each element instead of each channel.
#[test]
fn batch_normalisation_of_each_element_is_refused() {
    let names = ["x", "scale", "bias", "mean", "variance"];
    for (spatial, sound) in [(None, true), (Some(1i64), true), (Some(0), false)] {
        let attrs = Attrs::new("BatchNormalization").with_opt("spatial", spatial);
        let mut main = graph(&[], vec![node(&attrs, &names, "y")], &["y"]);
        let x = samples::uniform(&[1, 2, 3], 1);
        main.input = vec![declared("x", &x, true)];
        main.input.extend(
            names[1..]
                .iter()
                .map(|n| declared(n, &floats([1.0; 2]), true)),
        );
        let graph = read(&model(7, main));
        assert_eq!(graph.is_ok(), sound, "{spatial:?}: {graph:?}");
        if let Err(error) = graph {
            assert!(matches!(error, Error::Graph(_)), "{error}");
            assert!(error.to_string().contains("spatial=0"), "{error}");
        }
    }
}

/// Declarations of values within a graph are not read: what operators make of their inputs is known without them.
#[test]
fn declared_types_of_inner_values_play_no_part() {
    let nodes = vec![plain("Neg", &["x"], "t"), plain("Abs", &["t"], "y")];
    let mut main = graph(&["x"], nodes, &["y"]);
    let wrong = HostTensor::zeros(DType::I64, [7, 7]).unwrap();
    main.value_info = vec![
        declared("t", &wrong, true),
        declared("nowhere", &wrong, true),
    ];
    main.output = vec![declared("y", &wrong, true)];
    let y = run(&model(OPSET, main), &[floats([-4.0, 3.0])]);
    assert_eq!(y, [floats([4.0, 3.0])]);
}
