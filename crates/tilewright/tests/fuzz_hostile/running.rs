//! Hostile requests: models that can be read and ask for too much, or for what is none. Each is an error that names the
//! node, within time and memory.

use std::time::Duration;

use prost::Message;
use tilewright::graph::{Attr, Error as GraphError};
use tilewright::onnx::{NoExternalData, read_model};
use tilewright::{DType, Graph, HostTensor, Model, ModelOptions, RunLimits, Session, block_on};

use crate::alloc::peak_of;
use crate::attempt::{kinds, limits, planned};
use crate::build::{Net, floats, ints, node, relu, says};

fn run(graph: Graph, inputs: &[(&str, HostTensor)], limits: RunLimits) -> Result<(), GraphError> {
    let mut options = ModelOptions::default();
    options.limits = limits;
    let mut session = Session::new(&Model::host(graph, options))?;
    block_on(session.run(inputs)).map(drop)
}

/// The error of reading, planning or running a model, and what it says.
fn fails(net: Net, inputs: &[(&str, HostTensor)]) -> String {
    let file = net.model().encode_to_vec();
    let (said, peak) = peak_of(|| {
        let graph = match read_model(file.clone(), &NoExternalData) {
            Ok(graph) => graph,
            Err(error) => return error.to_string(),
        };
        for caps in kinds() {
            let _ = planned(&graph, &Default::default(), &caps);
        }
        match run(graph, inputs, limits()) {
            Err(error) => error.to_string(),
            Ok(()) => panic!("ran"),
        }
    });
    assert!(peak < 64 << 20, "{peak} bytes in use: {said}");
    said
}

#[test]
fn windows_that_are_none() {
    let conv = |attribute: &'static str, values: &[i64]| {
        Net::new()
            .input("x", DType::F32, &["1", "1", "8", "8"])
            .init("w", &floats(&[1, 1, 3, 3]))
            .node("Conv", &["x", "w"], &["y"], &[(attribute, ints(values))])
            .output("y")
    };
    let x = [("x", floats(&[1, 1, 8, 8]))];
    for (attribute, values) in [
        ("strides", vec![-1, 1]),
        ("strides", vec![0, 1]),
        ("strides", vec![i64::MIN, 1]),
        ("dilations", vec![1, -2]),
        ("pads", vec![0, 0, -1, 0]),
        ("kernel_shape", vec![-3, 3]),
        ("kernel_shape", vec![3]),
        ("pads", vec![i64::MAX, i64::MAX, i64::MAX, i64::MAX]),
        ("dilations", vec![i64::MAX, 1]),
    ] {
        says(
            &fails(conv(attribute, &values), &x),
            &["Conv of y", attribute],
        );
    }
    let none = conv("group", &[]);
    says(&fails(none, &x), &["Conv", "group"]);
    for (attribute, value) in [
        ("strides", Attr::Float(1.0)),
        ("group", Attr::Int(0)),
        ("group", Attr::Int(i64::MIN)),
    ] {
        let mut net = conv("strides", &[1, 1]);
        net.0.node[0] = node("Conv", &["x", "w"], &["y"], &[(attribute, value)]);
        says(&fails(net, &x), &["Conv of y"]);
    }
}

#[test]
fn zero_points_that_are_none() {
    let x = HostTensor::zeros(DType::U8, [1, 1, 4, 4]).unwrap();
    let weight = HostTensor::zeros(DType::U8, [1, 1, 2, 2]).unwrap();
    let none = HostTensor::zeros(DType::U8, [0]).unwrap();
    let net = Net::new()
        .input("x", DType::U8, &["1", "1", "4", "4"])
        .init("w", &weight)
        .init("none", &none)
        .node("ConvInteger", &["x", "w", "none"], &["y"], &[])
        .output("y");
    says(
        &fails(net, &[("x", x)]),
        &["ConvInteger of y", "input 2 has 0 elements"],
    );
}

/// A region may lie anywhere: what is outside of the image is 0, however much it is.
#[test]
fn regions_beyond_all_images() {
    for (op, shape, region) in [
        ("RoiAlign", ["1", "4"], vec![-1e30f32, -1e30, 1e30, 1e30]),
        (
            "MaxRoiPool",
            ["1", "5"],
            vec![0.0f32, -1e30, -1e30, 1e30, 1e30],
        ),
    ] {
        let inputs: &[&str] = if op == "RoiAlign" {
            &["x", "regions", "zero"]
        } else {
            &["x", "regions"]
        };
        let region = HostTensor::from_vec([1, region.len()], region).unwrap();
        let net = Net::new()
            .input("x", DType::F32, &["1", "1", "2", "2"])
            .input("regions", DType::F32, &shape)
            .ints("zero", &[0])
            .node(op, inputs, &["y"], &[("pooled_shape", ints(&[1, 1]))])
            .output("y");
        let file = net.model().encode_to_vec();
        let (result, peak) = peak_of(|| {
            let graph = read_model(file.clone(), &NoExternalData).unwrap();
            let inputs = [("x", floats(&[1, 1, 2, 2])), ("regions", region)];
            run(graph, &inputs, limits())
        });
        result.unwrap();
        assert!(peak < 1 << 20, "{op}: {peak} bytes in use");
    }
}

/// Each step of a layer is a dispatch of its own; a plan does not hold any number of them.
#[test]
fn layers_of_many_steps() {
    let net = |steps: &str| {
        let net = Net::new()
            .input("x", DType::F32, &[steps, "1", "1"])
            .init("w", &floats(&[1, 1, 1]));
        let attrs = [("hidden_size", Attr::Int(1))];
        net.node("RNN", &["x", "w", "w"], &["y"], &attrs)
            .output("y")
    };
    let plan = |steps: &str| {
        let file = net(steps).model().encode_to_vec();
        let graph = read_model(file.clone(), &NoExternalData).unwrap();
        let mut bindings = tilewright::graph::Bindings::default();
        for symbol in graph.symbols() {
            bindings.set(symbol, 1_000_000);
        }
        let (planned, peak) = peak_of(|| planned(&graph, &bindings, &kinds()[0]));
        assert!(peak < 64 << 20, "{peak} bytes in use");
        planned
    };
    // On the host, as the number of steps is known before; too late for that where it is not.
    plan("1000000").unwrap();
    let error = plan("steps").unwrap_err().to_string();
    says(&error, &["RNN of y", "1000000 steps", "8192"]);
}

/// A loop whose body adds to what it carries.
fn endless(count: i64, condition: bool) -> Net {
    let body = Net::new()
        .input("i", DType::I64, &[])
        .input("go", DType::Bool, &[])
        .input("s", DType::F32, &["2"])
        .node("Add", &["s", "s"], &["next"], &[])
        .node("Identity", &["go"], &["on"], &[])
        .output("on")
        .output("next")
        .output("next");
    let net = Net::new()
        .input("x", DType::F32, &["2"])
        .init("count", &HostTensor::scalar(count));
    let net = net.init("yes", &HostTensor::scalar(true));
    let net = net.node(
        "Loop",
        &["count", if condition { "yes" } else { "" }, "x"],
        &["y", "all"],
        &[],
    );
    net.body("body", body).output("y").output("all")
}

#[test]
fn loops_without_end() {
    let x = [("x", floats(&[2]))];
    for condition in [true, false] {
        // What it piles up would be larger than there are addresses.
        says(
            &fails(endless(i64::MAX, condition), &x),
            &["Loop of y", "[9223372036854775807, 2]"],
        );
        let mut net = endless(i64::MAX, condition);
        net.0.node[0].output.pop();
        net.0.output.pop();
        let body = net.0.node[0].attribute[0].g.as_mut().unwrap();
        body.output.pop();
        says(&fails(net, &x), &["Loop of y", "iterations", "1000"]);
    }
    // As many iterations as are allowed, one in the other.
    let mut nest = endless(900, false).0.node.remove(0);
    for _ in 0..6 {
        let mut outer = endless(900, false).0.node.remove(0);
        let body = outer.attribute[0].g.as_mut().unwrap();
        nest.input = vec!["count".into(), "".into(), "s".into()];
        nest.output = vec!["next".into()];
        body.node[0] = nest;
        nest = outer;
    }
    let mut net = endless(900, false);
    net.0.node[0] = nest;
    says(&fails(net, &x), &["Loop", "time", "1000"]);
}

/// Graphs in graphs: none may cost more than the sum of them.
fn nested(op: &str, depth: usize) -> Net {
    let mut body = Net::new().node("Relu", &["x"], &["y0"], &[]).output("y0");
    for i in 1..=depth {
        let (name, out) = (format!("y{i}"), format!("i{i}"));
        let net = Net::new();
        body = match op {
            "If" => {
                let other = Net::new().node("Exp", &["x"], &[&out], &[]).output(&out);
                let net = net.node("If", &["c"], &[&name], &[]);
                net.body("then_branch", body)
                    .body("else_branch", other)
                    .output(&name)
            }
            _ => {
                let (i, go) = (format!("n{i}"), format!("g{i}"));
                let mut body = body.input(&i, DType::I64, &[]).input(&go, DType::Bool, &[]);
                let y = body.0.output.remove(0);
                let mut body = body.node("Identity", &[&go], &[&out], &[]).output(&out);
                body.0.output.push(y);
                net.init("one", &HostTensor::scalar(2i64))
                    .node("Loop", &["one", ""], &[&name], &[])
                    .body("body", body)
                    .output(&name)
            }
        };
    }
    body.input("x", DType::F32, &["n"])
        .input("c", DType::Bool, &[])
}

#[test]
fn graphs_in_graphs() {
    let inputs = [("x", floats(&[2])), ("c", HostTensor::scalar(true))];
    for op in ["If", "Loop"] {
        for depth in [6, 24, 30, 31, 40] {
            let file = nested(op, depth).model().encode_to_vec();
            let begin = std::time::Instant::now();
            let (result, peak) = peak_of(|| match read_model(file.clone(), &NoExternalData) {
                Ok(graph) => {
                    for caps in kinds() {
                        let _ = planned(&graph, &Default::default(), &caps);
                    }
                    run(graph, &inputs, limits()).map_err(|e| e.to_string())
                }
                Err(error) => Err(error.to_string()),
            });
            assert!(
                begin.elapsed() < Duration::from_secs(5),
                "{op} {depth}: {:?}",
                begin.elapsed()
            );
            assert!(peak < 64 << 20, "{op} {depth}: {peak} bytes");
            match (depth, result) {
                (6, result) => result.unwrap(),
                (40, Ok(())) => panic!("{op} {depth} was accepted"),
                (40, Err(error)) => says(&error, &["recursion"]),
                _ => {}
            }
        }
    }
}

#[test]
fn tensors_from_nothing() {
    let big = 1i64 << 40;
    let of = |op: &str, inputs: &[&str], attrs: &[(&str, Attr)]| {
        Net::new()
            .input("x", DType::F32, &["1", "1", "2", "2"])
            .init("zero", &HostTensor::scalar(0i64))
            .init("one", &HostTensor::scalar(1i64))
            .init("big", &HostTensor::scalar(big))
            .ints("shape", &[big])
            .ints("shapes", &[1, 1, 1 << 20, 1 << 20])
            .ints("most", &[1, i64::MAX, i64::MAX, i64::MAX])
            .ints("pads", &[0, 0, 0, 0, 0, 0, 0, big])
            .ints("on_off", &[0, 1])
            .init(
                "scales",
                &HostTensor::from_slice([4], &[1.0f32, 1.0, 1e9, 1e9]).unwrap(),
            )
            .node(op, inputs, &["y"], attrs)
            .output("y")
    };
    let x = [("x", floats(&[1, 1, 2, 2]))];
    let kernel = ("kernel_shape", ints(&[1, 1]));
    let pads = ("pads", ints(&[0, 0, 1 << 30, 1 << 30]));
    for net in [
        of("ConstantOfShape", &["shape"], &[]),
        of("ConstantOfShape", &["most"], &[]),
        of("Range", &["zero", "big", "one"], &[]),
        of("Expand", &["x", "shapes"], &[]),
        of("Expand", &["x", "most"], &[]),
        of("Tile", &["x", "shapes"], &[]),
        of("Tile", &["x", "most"], &[]),
        of("Pad", &["x", "pads"], &[]),
        of("Resize", &["x", "", "scales"], &[]),
        of("Resize", &["x", "", "", "shapes"], &[]),
        of("OneHot", &["zero", "big", "on_off"], &[]),
        of("AveragePool", &["x"], &[kernel, pads]),
        of("HannWindow", &["big"], &[]),
        of("CenterCropPad", &["x", "shapes"], &[]),
        of(
            "MaxRoiPool",
            &["x", "x"],
            &[("pooled_shape", ints(&[big, big]))],
        ),
        of("Upsample", &["x", "scales"], &[]),
    ] {
        says(&fails(net, &x), &["of y"]);
    }
}

#[test]
fn more_work_than_allowed() {
    let product = |n: usize| {
        let size = n.to_string();
        let net =
            Net::new()
                .input("a", DType::F32, &["1", &size])
                .input("b", DType::F32, &[&size, "1"]);
        let net =
            net.node("MatMul", &["b", "a"], &["c"], &[])
                .node("MatMul", &["c", "c"], &["d"], &[]);
        (
            net.output("d"),
            [("a", floats(&[1, n])), ("b", floats(&[n, 1]))],
        )
    };
    let (net, inputs) = product(600);
    says(&fails(net, &inputs), &["MatMul of d", "steps", "10000000"]);
    let (net, inputs) = product(2000);
    says(&fails(net, &inputs), &["MatMul of c", "bytes", "4194304"]);
    let mut no_time = limits();
    no_time.wall_time = Duration::ZERO;
    let graph = read_model(relu().model().encode_to_vec(), &NoExternalData).unwrap();
    let error = run(graph, &[("x", floats(&[2]))], no_time)
        .unwrap_err()
        .to_string();
    says(&error, &["Relu of y", "time"]);
}

/// The sum of what lives at once counts, not only each tensor.
#[test]
fn more_memory_than_allowed() {
    let mut net = Net::new().input("x", DType::F32, &["200000"]);
    for i in 0..12 {
        let c = HostTensor::scalar(i as f32);
        let (c_name, y) = (format!("c{i}"), format!("y{i}"));
        net = net
            .init(&c_name, &c)
            .node("Add", &["x", &c_name], &[&y], &[])
            .output(&y);
    }
    says(
        &fails(net, &[("x", floats(&[200_000]))]),
        &["Add of y5", "bytes", "4194304"],
    );
}

#[test]
fn inputs_that_do_not_fit() {
    let told = |inputs: &[(&str, HostTensor)]| {
        let graph = read_model(relu().model().encode_to_vec(), &NoExternalData).unwrap();
        match run(graph, inputs, limits()) {
            Err(GraphError::Input { name, what }) => format!("{name}: {what}"),
            other => panic!("{other:?}"),
        }
    };
    says(&told(&[]), &["x: is missing"]);
    says(&told(&[("x", floats(&[3]))]), &["x: must be"]);
    says(&told(&[("x", floats(&[1, 2]))]), &["x: must be"]);
    says(
        &told(&[("x", HostTensor::scalar(1i64))]),
        &["x: must be f32"],
    );
    says(
        &told(&[("z", floats(&[2]))]),
        &["z: the model has no such input"],
    );
    says(
        &told(&[("x", floats(&[2])), ("x", floats(&[2]))]),
        &["x: is given twice"],
    );
}

/// As many nodes as fit into 300 kB, each an expression of the one before.
#[test]
fn long_chains() {
    let chain = |ops: &[&str], seed: &str| {
        let mut net = Net::new()
            .input("x", DType::F32, &["n", "4"])
            .ints("two", &[2])
            .node("Shape", &["x"], &["s"], &[]);
        let mut last = seed.to_owned();
        for i in 0..5500 {
            let (name, op) = (format!("v{i}"), ops[i % ops.len()]);
            let own = [last.as_str(), last.as_str()];
            let inputs = match op {
                "Add" | "Mul" | "Concat" => &own[..],
                "Relu" => &own[..1],
                _ => &[own[0], "two"],
            };
            let axis = [("axis", Attr::Int(0))];
            let attrs = if op == "Concat" { &axis[..] } else { &[] };
            let mut node = node(op, inputs, &[&name], attrs);
            node.name = None;
            net.0.node.push(node);
            last = name;
        }
        net.output(&last)
    };
    let x = [("x", floats(&[3, 4]))];
    for (ops, seed) in [
        (&["Relu"][..], "x"),
        (&["Mul", "Add"][..], "s"),
        (&["Div", "Sub"][..], "s"),
        (&["Mod", "Sub", "Mul"][..], "s"),
        (&["Concat"][..], "x"),
    ] {
        let file = chain(ops, seed).model().encode_to_vec();
        assert!(file.len() < 300_000, "{}", file.len());
        let begin = std::time::Instant::now();
        let ((), peak) = peak_of(|| {
            if let Ok(graph) = read_model(file.clone(), &NoExternalData) {
                let mut bindings = tilewright::graph::Bindings::default();
                graph
                    .symbols()
                    .into_iter()
                    .for_each(|s| assert_eq!(bindings.set(s, 3), None));
                let _ = planned(&graph, &bindings, &kinds()[0]);
                let _ = run(graph, &x, limits());
            }
        });
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{ops:?}: {:?}",
            begin.elapsed()
        );
        assert!(
            peak < (64 << 20) + 2 * file.len() as u64,
            "{ops:?}: {} KiB",
            peak >> 10
        );
    }
}
