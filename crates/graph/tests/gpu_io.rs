//! Inputs and outputs in buffers of the caller, and runs recorded into the caller's encoder.

mod common;

use common::{any_gpu as gpu, op};
use tilewright_device::{Buffer, BufferUse, Gpu, Recorder};
use tilewright_graph::{
    DeviceTensor, Dim, Error, Fact, Graph, IoBinding, Model, ModelOptions, Session, host, samples,
};
use tilewright_tensor::{DType, HostTensor, nmse};

/// y = x W, twice = ids + ids, not = !flags; all of one symbolic length.
fn graph() -> Graph {
    let mut g = Graph::new();
    let n = Dim::symbol("n");
    let x = Fact::new(DType::F32, vec![n.clone(), 6usize.into()]);
    let x = g.input("x", Some(x)).unwrap();
    let ids = g
        .input("ids", Some(Fact::new(DType::I64, vec![n.clone()])))
        .unwrap();
    let flags = g
        .input("flags", Some(Fact::new(DType::Bool, vec![n])))
        .unwrap();
    let w = g.constant(samples::uniform(&[6, 6], 1));
    let y = g.add1(op("MatMul"), &[x, w]).unwrap();
    let twice = g.add1(op("Add"), &[ids, ids]).unwrap();
    let not = g.add1(op("Not"), &[flags]).unwrap();
    for (name, v) in [("y", y), ("twice", twice), ("not", not)] {
        g.output(name, v);
    }
    g
}

fn inputs(n: usize) -> [HostTensor; 3] {
    let ids = samples::integers(DType::I64, &[n], 3, -1000, 1000);
    let flags = samples::integers(DType::I64, &[n], 4, 0, 2);
    let flags = flags.cast(DType::Bool).unwrap();
    [samples::uniform(&[n, 6], 2), ids, flags]
}

/// A place for a tensor like `like`, behind 12 bytes of something else.
fn space(gpu: &Gpu, like: &HostTensor) -> DeviceTensor {
    let buffer = gpu
        .buffer(12 + 4 * like.len() as u64, BufferUse::Storage)
        .unwrap();
    DeviceTensor::new(buffer, like.dtype(), like.shape()).at(12)
}

fn filled(gpu: &Gpu, value: &HostTensor) -> DeviceTensor {
    let tensor = space(gpu, value);
    tensor.write(gpu, value).unwrap();
    tensor
}

fn read(gpu: &Gpu, tensor: &DeviceTensor) -> HostTensor {
    pollster::block_on(tensor.read(gpu)).unwrap()
}

fn same(got: &HostTensor, expected: &HostTensor) {
    if expected.dtype().is_float() {
        assert!(nmse(got, expected).unwrap() < 1e-10);
    } else {
        assert_eq!(got, expected);
    }
}

#[test]
fn buffers_in_and_out() {
    let Some(gpu) = gpu() else { return };
    let g = graph();
    let mut session = Session::new(&Model::new(g.clone(), &gpu, ModelOptions::default())).unwrap();
    for n in [5, 1, 64, 5] {
        let inputs = inputs(n);
        let expected = host::run(&g, &inputs).unwrap();
        let sinks: Vec<_> = expected.iter().map(|t| space(&gpu, t)).collect();
        let [x, ids, flags] = inputs.clone();
        // `not` stays an output to the host, and `x` an input from it.
        let io = IoBinding::new()
            .input("x", x)
            .input("ids", filled(&gpu, &ids))
            .input("flags", filled(&gpu, &flags))
            .output("y", sinks[0].clone())
            .output("twice", sinks[1].clone());
        let outputs = pollster::block_on(session.run_with(io)).unwrap();
        let names: Vec<&str> = outputs.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["not"]);
        same(&outputs[0].1, &expected[2]);
        for (sink, expected) in sinks.iter().zip(&expected).take(2) {
            same(&read(&gpu, sink), expected);
        }
    }
}

/// A counter, and y = x + the count before; the old count is an output too.
fn counting() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", Some(Fact::sized(DType::F32, &[4]))).unwrap();
    let count = g.state("count", HostTensor::scalar(1f32)).unwrap();
    let one = g.scalar(DType::F32, 1.0).unwrap();
    let more = g.add1(op("Add"), &[count, one]).unwrap();
    g.set_next(count, more).unwrap();
    let y = g.add1(op("Add"), &[x, count]).unwrap();
    g.output("y", y);
    g.output("before", count);
    g.output("one", one);
    g
}

#[test]
fn runs_are_recorded_into_an_encoder() {
    let Some(gpu) = gpu() else { return };
    let model = Model::new(counting(), &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let start = HostTensor::from_vec([4], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
    let tensor = filled(&gpu, &start);
    let (before, one) = (HostTensor::scalar(0f32), HostTensor::scalar(0f32));
    let (before, one) = (space(&gpu, &before), space(&gpu, &one));
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    // Three runs in one encoder, each on what the one before made; the second also from the host.
    for i in 0..3 {
        let io = IoBinding::new()
            .output("y", tensor.clone())
            .output("before", before.clone())
            .output("one", one.clone());
        let io = match i {
            1 => io.input("x", start.clone()),
            _ => io.input("x", tensor.clone()),
        };
        let recorder = Recorder::over(&gpu, &mut encoder);
        pollster::block_on(session.record(io, recorder)).unwrap();
    }
    let count = |s: &Session| pollster::block_on(s.state("count")).unwrap();
    assert_eq!(count(&session), HostTensor::scalar(1f32), "nothing ran yet");
    // A run in between changes the arena and the state; the recorded ones follow it.
    let outputs = pollster::block_on(session.run(&[("x", start.clone())])).unwrap();
    assert_eq!(outputs[0].1.to_vec::<f32>().unwrap(), [2.0, 3.0, 4.0, 5.0]);
    assert_eq!(count(&session), HostTensor::scalar(2f32));
    gpu.queue().submit([encoder.finish()]);
    // The second run gave the start + 3, the third that + 4.
    assert_eq!(
        read(&gpu, &tensor).to_vec::<f32>().unwrap(),
        [8.0, 9.0, 10.0, 11.0]
    );
    assert_eq!(read(&gpu, &before), HostTensor::scalar(4f32));
    assert_eq!(read(&gpu, &one), HostTensor::scalar(1f32));
    assert_eq!(count(&session), HostTensor::scalar(5f32));
}

#[test]
fn what_does_not_fit_is_named() {
    let Some(gpu) = gpu() else { return };
    let mut session = Session::new(&Model::new(graph(), &gpu, ModelOptions::default())).unwrap();
    let [x, ids, flags] = inputs(3);
    let good = || {
        let io = IoBinding::new().input("ids", ids.clone());
        io.input("flags", flags.clone())
    };
    let small = Buffer::clone(space(&gpu, &flags).buffer());
    let tensor = |dtype, shape: &[usize]| DeviceTensor::new(small.clone(), dtype, shape);
    let x_cases = [
        (tensor(DType::F32, &[3, 6]), "takes 72 bytes"),
        (tensor(DType::F32, &[3, 2]), "[3, 2]"),
        (tensor(DType::I64, &[1, 6]), "must be f32"),
        (tensor(DType::F64, &[1, 6]), "no device storage"),
        (tensor(DType::F32, &[1, 6]).at(2), "byte 2"),
        (tensor(DType::F32, &[1, 6]), "size n is"),
    ];
    for (x, what) in x_cases {
        let error = pollster::block_on(session.run_with(good().input("x", x))).unwrap_err();
        assert!(
            matches!(&error, Error::Input { name, .. } if name == "x" || name == "ids"),
            "{error}"
        );
        assert!(error.to_string().contains(what), "{error}");
    }
    let large = space(&gpu, &samples::uniform(&[3, 6], 0));
    let large = |dtype, shape: &[usize]| DeviceTensor::new(large.buffer().clone(), dtype, shape);
    let y_cases = [
        ("y", tensor(DType::F32, &[3, 6]), "takes 72 bytes"),
        ("y", large(DType::F32, &[6, 3]), "bound as f32[6, 3]"),
        ("twice", large(DType::I32, &[3]), "is i64[3], bound as i32"),
        ("z", large(DType::F32, &[3, 6]), "no such output"),
    ];
    for (name, sink, what) in y_cases {
        let io = good().input("x", x.clone()).output(name, sink);
        let error = pollster::block_on(session.run_with(io)).unwrap_err();
        assert!(
            matches!(&error, Error::Output { name: n, .. } if n == name),
            "{error}"
        );
        assert!(error.to_string().contains(what), "{error}");
    }
    let twice = good().input("x", x.clone());
    let twice = twice.output("y", large(DType::F32, &[3, 6]));
    let twice = twice.output("y", large(DType::F32, &[3, 6]));
    let error = pollster::block_on(session.run_with(twice)).unwrap_err();
    assert!(error.to_string().contains("bound twice"), "{error}");
    // And the session still works.
    let outputs = pollster::block_on(session.run_with(good().input("x", x))).unwrap();
    assert_eq!(outputs.len(), 3);
}

/// places = NonZero(x), which is late; det = Det(m), which runs on the host; y = m + m.
fn hosted() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", Some(Fact::sized(DType::F32, &[6]))).unwrap();
    let m = g
        .input("m", Some(Fact::sized(DType::F32, &[2, 2])))
        .unwrap();
    let places = g.add1(op("NonZero"), &[x]).unwrap();
    let places = g.add1(op("Add"), &[places, places]).unwrap();
    let det = g.add1(op("Det"), &[m]).unwrap();
    let y = g.add1(op("Add"), &[m, m]).unwrap();
    for (name, v) in [("places", places), ("det", det), ("y", y), ("same", m)] {
        g.output(name, v);
    }
    g
}

#[test]
fn the_host_gets_what_it_needs_from_buffers() {
    let Some(gpu) = gpu() else { return };
    let mut session = Session::new(&Model::new(hosted(), &gpu, ModelOptions::default())).unwrap();
    let x = HostTensor::from_vec([6], vec![0f32, 1.0, 0.0, 2.0, 3.0, 0.0]).unwrap();
    let m = HostTensor::from_vec([2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
    let expected = host::run(&hosted(), &[x.clone(), m.clone()]).unwrap();
    let sinks: Vec<_> = expected.iter().map(|t| space(&gpu, t)).collect();
    let mut io = IoBinding::new()
        .input("x", filled(&gpu, &x))
        .input("m", filled(&gpu, &m));
    for (name, sink) in ["places", "det", "y", "same"].iter().zip(&sinks) {
        io = io.output(name, sink.clone());
    }
    assert!(
        pollster::block_on(session.run_with(io.clone()))
            .unwrap()
            .is_empty()
    );
    for (sink, expected) in sinks.iter().zip(&expected) {
        same(&read(&gpu, sink), expected);
    }
    // A shape that the data decide is checked when it is known.
    let wrong = DeviceTensor::new(sinks[0].buffer().clone(), DType::I64, [1, 2]);
    let wrong = IoBinding::new()
        .input("x", x.clone())
        .input("m", m.clone())
        .output("places", wrong);
    let error = pollster::block_on(session.run_with(wrong)).unwrap_err();
    assert!(
        matches!(&error, Error::Output { name, .. } if name == "places"),
        "{error}"
    );

    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let recorder = Recorder::over(&gpu, &mut encoder);
    let error = pollster::block_on(session.record(io, recorder)).unwrap_err();
    assert!(
        matches!(&error, Error::NotRecordable { op, .. } if op == "NonZero"),
        "{error}"
    );
}

#[test]
fn a_host_step_cannot_be_recorded() {
    let Some(gpu) = gpu() else { return };
    let mut g = Graph::new();
    let m = g
        .input("m", Some(Fact::sized(DType::F32, &[2, 2])))
        .unwrap();
    let det = g.add_node(op("Det"), &[Some(m)], "volume", 1).unwrap()[0];
    g.output("det", det);
    let mut session = Session::new(&Model::new(g, &gpu, ModelOptions::default())).unwrap();
    let m = HostTensor::from_vec([2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
    let io = IoBinding::new().input("m", m);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let recorder = Recorder::over(&gpu, &mut encoder);
    let error = pollster::block_on(session.record(io.clone(), recorder)).unwrap_err();
    assert!(
        matches!(&error, Error::NotRecordable { node, .. } if node == "volume"),
        "{error}"
    );
    let outputs = pollster::block_on(session.run_with(io)).unwrap();
    same(&outputs[0].1, &HostTensor::scalar(-2f32));
}

#[test]
fn a_model_on_the_host_takes_no_buffers() {
    let Some(gpu) = gpu() else { return };
    let mut session = Session::new(&Model::host(graph(), ModelOptions::default())).unwrap();
    let [x, ids, flags] = inputs(2);
    let io = || {
        let io = IoBinding::new().input("ids", ids.clone());
        io.input("flags", flags.clone())
    };
    let fed = io().input("x", filled(&gpu, &x));
    let error = pollster::block_on(session.run_with(fed)).unwrap_err();
    assert!(matches!(error, Error::Input { .. }), "{error}");
    let bound = io().input("x", x.clone()).output("y", space(&gpu, &x));
    let error = pollster::block_on(session.run_with(bound)).unwrap_err();
    assert!(matches!(error, Error::Output { .. }), "{error}");
}

/// y = x + x, then a node on the host, then z = det + d; `same` is d.
fn staged() -> Graph {
    let mut g = Graph::new();
    let x = g
        .input("x", Some(Fact::sized(DType::F32, &[2, 2])))
        .unwrap();
    let d = g
        .input("d", Some(Fact::sized(DType::F32, &[2, 2])))
        .unwrap();
    let y = g.add1(op("Add"), &[x, x]).unwrap();
    let det = g.add1(op("Det"), &[y]).unwrap();
    let z = g.add1(op("Add"), &[det, d]).unwrap();
    for (name, v) in [("y", y), ("z", z), ("same", d)] {
        g.output(name, v);
    }
    g
}

#[test]
fn outputs_may_go_where_inputs_come_from() {
    let Some(gpu) = gpu() else { return };
    let (x, d) = (samples::uniform(&[2, 2], 1), samples::uniform(&[2, 2], 2));
    let expected = host::run(&staged(), &[x.clone(), d.clone()]).unwrap();
    let model = Model::new(staged(), &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let (fed, other) = (filled(&gpu, &d), filled(&gpu, &d));
    let io = IoBinding::new()
        .input("x", x.clone())
        .input("d", fed.clone())
        .output("y", fed.clone())
        .output("same", other.clone());
    let outputs = pollster::block_on(session.run_with(io)).unwrap();
    same(&outputs[0].1, &expected[1]);
    same(&read(&gpu, &fed), &expected[0]);
    same(&read(&gpu, &other), &d);
}

/// Runs with these bindings, by itself or as commands in an encoder of the caller.
fn either(session: &mut Session, gpu: &Gpu, io: IoBinding, record: bool) {
    if record {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        pollster::block_on(session.record(io, Recorder::over(gpu, &mut encoder))).unwrap();
        gpu.queue().submit([encoder.finish()]);
    } else {
        pollster::block_on(session.run_with(io)).unwrap();
    }
}

/// Outputs that are the inputs, which change places.
#[test]
fn buffers_change_places() {
    let Some(gpu) = gpu() else { return };
    let mut g = Graph::new();
    for (input, output) in [("a", "b'"), ("b", "a'")] {
        let v = g.input(input, Some(Fact::sized(DType::F32, &[4]))).unwrap();
        g.output(output, v);
    }
    let (a, b) = (samples::uniform(&[4], 1), samples::uniform(&[4], 2));
    let mut session = Session::new(&Model::new(g, &gpu, ModelOptions::default())).unwrap();
    for record in [false, true] {
        let (at, bt) = (filled(&gpu, &a), filled(&gpu, &b));
        let io = IoBinding::new()
            .input("a", at.clone())
            .input("b", bt.clone())
            .output("a'", at.clone())
            .output("b'", bt.clone());
        either(&mut session, &gpu, io, record);
        same(&read(&gpu, &at), &b);
        same(&read(&gpu, &bt), &a);
    }
}

/// An output that is an input goes to another range of that input's buffer.
#[test]
fn an_input_is_passed_on_within_its_buffer() {
    let Some(gpu) = gpu() else { return };
    let mut g = Graph::new();
    let v = g.input("a", Some(Fact::sized(DType::F32, &[4]))).unwrap();
    g.output("b", v);
    let mut session = Session::new(&Model::new(g, &gpu, ModelOptions::default())).unwrap();
    let a = samples::uniform(&[4], 1);
    let wide = filled(&gpu, &samples::uniform(&[128], 2));
    for record in [false, true] {
        let at = |offset| DeviceTensor::new(wide.buffer().clone(), DType::F32, [4]).at(offset);
        gpu.write(wide.buffer(), 0, a.bytes()).unwrap();
        let io = IoBinding::new().input("a", at(0)).output("b", at(256));
        either(&mut session, &gpu, io, record);
        same(&read(&gpu, &at(256)), &a);
        gpu.write(wide.buffer(), 256, &[0; 16]).unwrap();
    }
}
