//! Operators of older operator sets, alone in a model that runs on the host: with inputs of known shapes, and with inputs
//! whose shape nobody knows before the run. Expected values are those of today's operator in the old one's words.

mod common;

use std::slice::from_ref;

use common::{declared, named, node};
use tilewright_graph::attrs::dtype_code;
use tilewright_graph::{Attrs, Error, Graph, Model, ModelOptions, Op, Session, host, samples};
use tilewright_onnx::proto::{GraphProto, NodeProto, ValueInfoProto};
use tilewright_onnx::{self as onnx, NoExternalData, encode_model};
use tilewright_tensor::{DType, HostTensor};

/// The graph of a model of these nodes, the last of which makes `y`.
fn model(opset: i64, node: Vec<NodeProto>, input: Vec<ValueInfoProto>) -> onnx::Result<Graph> {
    let graph = GraphProto {
        node,
        input,
        output: vec![named("y")],
        ..GraphProto::default()
    };
    onnx::read_model(encode_model(&common::model(opset, graph)), &NoExternalData)
}

/// The graph of a model with one node, whose attributes these are.
fn read(opset: i64, attrs: &Attrs, inputs: &[HostTensor], shapes: bool) -> onnx::Result<Graph> {
    let names = ["x0", "x1", "x2"];
    let names = &names[..inputs.len()];
    let input = (names.iter().zip(inputs)).map(|(name, t)| declared(name, t, shapes));
    model(opset, vec![node(attrs, names, "y")], input.collect())
}

/// The node's output.
fn run(
    opset: i64,
    attrs: &Attrs,
    inputs: &[HostTensor],
    shapes: bool,
) -> Result<HostTensor, Error> {
    let graph = read(opset, attrs, inputs, shapes).expect("a model that can be read");
    Ok(host::run(&graph, inputs)?.remove(0))
}

/// What today's operator makes of the same.
fn today(attrs: &Attrs, inputs: &[&HostTensor]) -> HostTensor {
    let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
    let op = Op::from_name(attrs.op(), attrs).unwrap();
    op.reference(&inputs).unwrap().remove(0)
}

fn shaped(t: &HostTensor, shape: &[usize]) -> HostTensor {
    t.reshape(shape.to_vec()).unwrap()
}

/// The old node makes `expected`, whether its inputs' shapes are known when it is read or not.
#[track_caller]
fn makes(opset: i64, attrs: &Attrs, inputs: &[HostTensor], expected: &HostTensor) {
    for shapes in [true, false] {
        let y = run(opset, attrs, inputs, shapes).unwrap();
        assert_eq!(y, *expected, "{attrs}, shapes known: {shapes}");
    }
}

#[test]
fn a_type_without_a_shape_is_kept() {
    let inputs = [samples::uniform(&[2], 1)];
    let graph = read(13, &Attrs::new("Neg"), &inputs, false).unwrap();
    let (_, x) = graph.inputs()[0];
    assert!(graph.fact(x).is_none());
    assert_eq!(graph.dtype(x), Some(DType::F32));
}

#[test]
fn roi_align_had_no_shift_by_half_a_pixel() {
    let attrs = Attrs::new("RoiAlign")
        .with("output_height", 2i64)
        .with("output_width", 3i64)
        .with("sampling_ratio", 2i64);
    let inputs = [
        samples::uniform(&[1, 2, 6, 7], 1),
        HostTensor::from_vec([1, 4], vec![0.5f32, 1.0, 5.25, 4.5]).unwrap(),
        samples::ints(&[0]),
    ];
    let all = [&inputs[0], &inputs[1], &inputs[2]];
    let mode = |mode: &str| {
        let attrs = attrs.clone();
        attrs.with("coordinate_transformation_mode", mode.to_string())
    };
    let old = today(&mode("output_half_pixel"), &all);
    let new = today(&mode("half_pixel"), &all);
    assert_ne!(old, new);
    makes(10, &attrs, &inputs, &old);
    makes(15, &attrs, &inputs, &old);
    makes(16, &attrs, &inputs, &new);
}

#[test]
fn softmax_took_all_axes_from_its_axis_on() {
    for name in ["Softmax", "LogSoftmax", "Hardmax"] {
        let x = samples::between(&[2, 3, 4], 1, -3.0, 3.0);
        let last = Attrs::new(name).with("axis", -1i64);
        let flattened = |rows: usize| {
            let flat = shaped(&x, &[rows, 24 / rows]);
            shaped(&today(&last, &[&flat]), &[2, 3, 4])
        };
        makes(12, &Attrs::new(name), from_ref(&x), &flattened(2));
        for (axis, rows) in [(0, 1), (1, 2), (2, 6), (-2, 2), (-1, 6)] {
            let attrs = Attrs::new(name).with("axis", axis);
            makes(11, &attrs, from_ref(&x), &flattened(rows));
        }
        let empty = HostTensor::zeros(DType::F32, [2, 3, 0]).unwrap();
        makes(11, &Attrs::new(name), from_ref(&empty), &empty);
    }
}

#[test]
fn softmax_of_as_many_rows_as_a_run_finds() {
    let nodes = vec![
        node(&Attrs::new("NonZero"), &["x"], "found"),
        node(
            &Attrs::new("Cast").with("to", dtype_code(DType::F32)),
            &["found"],
            "rows",
        ),
        node(&Attrs::new("Softmax").with("axis", 0i64), &["rows"], "y"),
    ];
    let x = |values: [f32; 6]| samples::of(&[2, 3], &values);
    let xs = [x([1.0, 0.0, 2.0, 0.0, 0.0, 3.0]), x([0.0; 6]), x([1.0; 6])];
    let graph = model(11, nodes, vec![declared("x", &xs[0], true)]).unwrap();
    let host_model = Model::host(graph.clone(), ModelOptions::default());
    let mut session = Session::new(&host_model).unwrap();
    for x in xs {
        let rows = today(&Attrs::new("NonZero"), &[&x])
            .cast(DType::F32)
            .unwrap();
        let flat = today(&Attrs::new("Softmax"), &[&shaped(&rows, &[1, rows.len()])]);
        let expected = shaped(&flat, rows.shape());
        let outputs = host::run(&graph, from_ref(&x)).unwrap();
        assert_eq!(outputs, from_ref(&expected));
        let outputs = pollster::block_on(session.run(&[("x", x)])).unwrap();
        assert_eq!(outputs[0].1, expected);
    }
}

#[test]
fn second_operands_lay_along_the_first_from_an_axis_on() {
    let a = samples::uniform(&[2, 3, 4, 5], 1);
    let at = |axis: i64| {
        let attrs = Attrs::new("Sub").with("broadcast", 1i64);
        attrs.with("axis", axis)
    };
    let whole = |b: &HostTensor, shape: &[usize]| {
        let b = shaped(b, shape);
        today(&Attrs::new("Sub"), &[&a, &b])
    };
    let b = samples::uniform(&[3, 4], 2);
    for axis in [1, -3] {
        makes(
            6,
            &at(axis),
            &[a.clone(), b.clone()],
            &whole(&b, &[3, 4, 1]),
        );
    }
    let b = samples::uniform(&[2], 3);
    makes(
        6,
        &at(0),
        &[a.clone(), b.clone()],
        &whole(&b, &[2, 1, 1, 1]),
    );
    let b = samples::uniform(&[5], 4);
    makes(6, &at(3), &[a.clone(), b.clone()], &whole(&b, &[5]));
    for axis in [-5, 4, i64::MIN, i64::MAX] {
        let error = read(6, &at(axis), &[a.clone(), b.clone()], true).unwrap_err();
        assert!(error.to_string().contains("do not fit"), "{error}");
    }
}

#[test]
fn slopes_lay_along_the_channels() {
    let slope = samples::between(&[3], 2, 0.1, 0.9);
    for shape in [&[2usize, 3][..], &[2, 3, 4], &[2, 3, 4, 2]] {
        let x = samples::uniform(shape, 1);
        let mut channels = vec![1; shape.len()];
        channels[1] = 3;
        let whole = shaped(&slope, &channels);
        let expected = today(&Attrs::new("PRelu"), &[&x, &whole]);
        makes(6, &Attrs::new("PRelu"), &[x, slope.clone()], &expected);
    }
}

#[test]
fn bounds_and_padding_have_the_type_of_the_tensor() {
    for dtype in [DType::F32, DType::F16, DType::F64] {
        let x = samples::uniform(&[2, 5], 1).cast(dtype).unwrap();
        let of = |v: f64| HostTensor::from_f64(dtype, vec![], vec![v]).unwrap();
        let clip = Attrs::new("Clip").with("min", -0.25f32).with("max", 0.5f32);
        let expected = today(&Attrs::new("Clip"), &[&x, &of(-0.25), &of(0.5)]);
        makes(6, &clip, from_ref(&x), &expected);
        let pad = Attrs::new("Pad")
            .with("pads", vec![1i64, 0, 0, 2])
            .with("value", 1.5f32);
        let pads = samples::ints(&[1, 0, 0, 2]);
        let expected = today(&Attrs::new("Pad"), &[&x, &pads, &of(1.5)]);
        makes(2, &pad, &[x], &expected);
    }
}

#[test]
fn group_normalisation_had_a_scale_for_each_group() {
    let attrs = Attrs::new("GroupNormalization").with("num_groups", 2i64);
    let x = samples::uniform(&[2, 6, 5], 1);
    let of_groups = |seed| samples::uniform(&[2], seed);
    let of_channels = |t: &HostTensor| {
        let v: Vec<f32> = t.to_vec().unwrap();
        HostTensor::from_vec([6], vec![v[0], v[0], v[0], v[1], v[1], v[1]]).unwrap()
    };
    let (scale, bias) = (of_groups(2), of_groups(3));
    let all = [&x, &of_channels(&scale), &of_channels(&bias)];
    let expected = today(&attrs, &all);
    makes(
        18,
        &attrs,
        &[x.clone(), scale.clone(), bias.clone()],
        &expected,
    );
    // 6 channels are no 4 groups, and there are no 0 groups.
    for groups in [4i64, 0, -1] {
        let attrs = Attrs::new("GroupNormalization").with("num_groups", groups);
        let inputs = [x.clone(), scale.clone(), bias.clone()];
        assert!(read(18, &attrs, &inputs, true).is_err());
        let error = read(18, &attrs, &inputs, false).map(|g| host::run(&g, &inputs));
        assert!(!matches!(error, Ok(Ok(_))), "{groups} groups");
    }
}
