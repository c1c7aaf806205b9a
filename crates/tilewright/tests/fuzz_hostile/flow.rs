//! Models with subgraphs and functions, each sound as it is.

use prost::Message;
use tilewright::graph::Attr;
use tilewright::{DType, HostTensor};

use crate::bases::Base;
use crate::build::{Net, function, ints, node, ramp};

/// A body with the ranks that exporters write.
fn loop_body() -> Net {
    Net::new()
        .input("i", DType::I64, &[])
        .input("go", DType::Bool, &[])
        .input("acc", DType::F32, &["2", "3"])
        .node("Add", &["acc", "outer"], &["next"], &[])
        .node("Identity", &["go"], &["on"], &[])
        .node(
            "ReduceMean",
            &["next"],
            &["mean"],
            &[("keepdims", Attr::Int(0))],
        )
        .output("on")
        .output("next")
        .output("mean")
}

pub(crate) fn loop_with_scan_output() -> Base {
    let net = Net::new()
        .input("x", DType::F32, &["2", "3"])
        .input("outer", DType::F32, &["2", "3"])
        .init("count", &HostTensor::scalar(4i64))
        .node("Loop", &["count", "", "x"], &["y", "means"], &[])
        .body("body", loop_body())
        .output("y")
        .output("means");
    Base::new(
        "net loop",
        net,
        &[("x", ramp(&[2, 3])), ("outer", ramp(&[2, 3]))],
    )
}

/// Ends by its condition, after carried values have grown.
pub(crate) fn endless_loop() -> Base {
    let body = Net::new()
        .input("i", DType::I64, &[])
        .input("go", DType::Bool, &[])
        .any("acc", DType::F32)
        .init("most", &HostTensor::scalar(3i64))
        .node("Less", &["i", "most"], &["on"], &[])
        .node(
            "Concat",
            &["acc", "acc"],
            &["next"],
            &[("axis", Attr::Int(0))],
        )
        .output("on")
        .output("next");
    let net = Net::new()
        .input("x", DType::F32, &["2", "3"])
        .init("count", &HostTensor::scalar(i64::MAX))
        .init("yes", &HostTensor::scalar(true))
        .node("Loop", &["count", "yes", "x"], &["y"], &[])
        .body("body", body)
        .node("Relu", &["y"], &["z"], &[])
        .output("z");
    Base::new("net endless loop", net, &[("x", ramp(&[2, 3]))])
}

pub(crate) fn branches() -> Base {
    let branch = |op: &str, out: &str| Net::new().node(op, &["x"], &[out], &[]).output(out);
    let net = Net::new()
        .input("x", DType::F32, &["n", "3"])
        .input("c", DType::Bool, &[])
        .node("If", &["c"], &["y"], &[])
        .body("then_branch", branch("Relu", "t"))
        .body("else_branch", branch("Flatten", "e"))
        .node("Exp", &["y"], &["z"], &[])
        .output("z");
    Base::new(
        "net if",
        net,
        &[("x", ramp(&[2, 3])), ("c", HostTensor::scalar(true))],
    )
}

pub(crate) fn scan() -> Base {
    let body = Net::new()
        .input("s", DType::F32, &["3"])
        .input("e", DType::F32, &["3"])
        .node("Add", &["s", "e"], &["next"], &[])
        .node("Mul", &["next", "e"], &["out"], &[])
        .output("next")
        .output("out");
    let net = Net::new()
        .input("x", DType::F32, &["n", "3"])
        .init("zero", &ramp(&[3]))
        .node(
            "Scan",
            &["zero", "x"],
            &["last", "all"],
            &[
                ("num_scan_inputs", Attr::Int(1)),
                ("scan_input_directions", ints(&[1])),
            ],
        )
        .body("body", body)
        .output("last")
        .output("all");
    Base::new("net scan", net, &[("x", ramp(&[4, 3]))])
}

pub(crate) fn functions() -> Base {
    let twice = vec![
        node("here:Once", &["a"], &["t"], &[]),
        node("here:Once", &["t"], &["b"], &[]),
    ];
    let once = vec![
        node("Mul", &["a", "a"], &["m"], &[]),
        node("Sigmoid", &["m"], &["b"], &[]),
    ];
    let net = Net::new()
        .input("x", DType::F32, &["n"])
        .node("here:Twice", &["x"], &["y"], &[])
        .output("y");
    let mut model = net.model();
    model.functions = vec![
        function("Twice", &["a"], &["b"], twice),
        function("Once", &["a"], &["b"], once),
    ];
    Base {
        name: "net functions".to_owned(),
        file: model.encode_to_vec(),
        inputs: vec![("x".to_owned(), ramp(&[4]))],
    }
}
