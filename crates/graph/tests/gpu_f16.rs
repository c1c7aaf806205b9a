//! Tensors of f16 on the device: every operator's cases again with f16 in the place of f32, where the adapter has f16 and
//! where it has not, and f16 in buffers of the caller, in states and under other shapes.

mod common;

use common::hosted::Hosted;
use common::{check, check_steps, gpu, op};
use tilewright_device::{BufferUse, Gpu, GpuOptions, Recorder};
use tilewright_graph::{
    Attrs, Case, DeviceTensor, Fact, Graph, IoBinding, Model, ModelOptions, Op, Session, host,
    samples,
};
use tilewright_tensor::{DType, HostTensor};

fn check_all(gpu: &Gpu) {
    let (mut failures, mut device, mut hosted) = (vec![], 0, Hosted::default());
    for case in Op::cases().iter().filter_map(Case::halved) {
        match check_steps(&case, gpu) {
            Ok(steps) => {
                device += usize::from(steps.is_empty());
                hosted.note(&case, &steps);
            }
            Err(e) => failures.push(format!("{} `{}`: {e}", case.op.name(), case.name)),
        }
    }
    let name = &gpu.info().name;
    println!(
        "{name}, f16 {}: {device} cases on the device",
        gpu.caps().f16
    );
    assert!(
        failures.is_empty(),
        "{} cases failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    hosted.listed();
}

/// The adapter, and the adapter without its features.
fn gpus() -> Vec<Gpu> {
    let options = [GpuOptions::new(), GpuOptions::new().default_limits_only()];
    options.into_iter().filter_map(gpu).collect()
}

fn halves(shape: &[usize], seed: u64) -> HostTensor {
    samples::uniform(shape, seed).cast(DType::F16).unwrap()
}

/// Bytes of so many f16 in a buffer of this device.
fn bytes(gpu: &Gpu, count: u64) -> u64 {
    if gpu.caps().f16 {
        (2 * count).next_multiple_of(4)
    } else {
        4 * count
    }
}

#[test]
fn f16_cases_agree_on_the_adapter() {
    if let Some(gpu) = gpu(GpuOptions::new()) {
        check_all(&gpu);
    }
}

#[test]
fn f16_cases_agree_without_f16() {
    if let Some(gpu) = gpu(GpuOptions::new().default_limits_only()) {
        assert!(!gpu.caps().f16);
        check_all(&gpu);
    }
}

/// y = -x, flat = x as a row, of an odd number of elements.
fn shapes() -> Graph {
    let mut g = Graph::new();
    let x = g
        .input("x", Some(Fact::sized(DType::F16, &[3, 1])))
        .unwrap();
    let y = g.add1(op("Neg"), &[x]).unwrap();
    let row = g.constant(samples::ints(&[1, 3]));
    let flat = g.add1(op("Reshape"), &[x, row]).unwrap();
    let twice = g.add1(op("Add"), &[flat, flat]).unwrap();
    for (name, v) in [("y", y), ("flat", flat), ("twice", twice)] {
        g.output(name, v);
    }
    g
}

#[test]
fn odd_numbers_of_f16_in_buffers() {
    for gpu in gpus() {
        let g = shapes();
        let x = halves(&[3, 1], 1);
        let expected = host::run(&g, std::slice::from_ref(&x)).unwrap();
        let model = Model::new(g, &gpu, ModelOptions::default());
        let mut session = Session::new(&model).unwrap();
        let space = |like: &HostTensor, room: u64| {
            let buffer = gpu.buffer(4 + room, BufferUse::Storage).unwrap();
            DeviceTensor::new(buffer, like.dtype(), like.shape()).at(4)
        };
        let room = bytes(&gpu, 3);
        let fed = space(&x, room);
        assert_eq!(fed.bytes(gpu.caps()), room);
        fed.write(&gpu, &x).unwrap();
        assert_eq!(pollster::block_on(fed.read(&gpu)).unwrap(), x);
        let sinks: Vec<_> = expected.iter().map(|t| space(t, room)).collect();
        let io = || {
            let io = IoBinding::new().input("x", fed.clone());
            let names = ["y", "flat", "twice"].into_iter().zip(&sinks);
            names.fold(io, |io, (name, sink)| io.output(name, sink.clone()))
        };
        let agree = || {
            for (sink, expected) in sinks.iter().zip(&expected) {
                assert_eq!(pollster::block_on(sink.read(&gpu)).unwrap(), *expected);
            }
        };
        pollster::block_on(session.run_with(io())).unwrap();
        agree();
        for sink in &sinks {
            let zeros = HostTensor::zeros(DType::F16, sink.shape().to_vec()).unwrap();
            sink.write(&gpu, &zeros).unwrap();
        }
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let recorder = Recorder::over(&gpu, &mut encoder);
        pollster::block_on(session.record(io(), recorder)).unwrap();
        gpu.queue().submit([encoder.finish()]);
        agree();
        let buffer = gpu.buffer(16, BufferUse::Storage).unwrap();
        let small = DeviceTensor::new(buffer, x.dtype(), x.shape()).at(20 - room);
        let small = IoBinding::new().input("x", small);
        let error = pollster::block_on(session.run_with(small)).unwrap_err();
        let what = format!("takes {room} bytes");
        assert!(error.to_string().contains(&what), "{error}");
    }
}

#[test]
fn states_of_f16_take_their_next_values() {
    for gpu in gpus() {
        let mut g = Graph::new();
        let x = g.input("x", Some(Fact::sized(DType::F16, &[5]))).unwrap();
        let start = HostTensor::zeros(DType::F16, [5]).unwrap();
        let sum = g.state("sum", start).unwrap();
        let next = g.add1(op("Add"), &[sum, x]).unwrap();
        g.set_next(sum, next).unwrap();
        g.output("before", sum);
        let mut session = Session::new(&Model::new(g, &gpu, ModelOptions::default())).unwrap();
        let half = |values: [f32; 5]| {
            let t = HostTensor::from_vec([5], values.to_vec()).unwrap();
            t.cast(DType::F16).unwrap()
        };
        let x = half([0.5, -1.0, 2.0, 30000.0, 0.25]);
        let run = |session: &mut Session| {
            let outputs = pollster::block_on(session.run(&[("x", x.clone())])).unwrap();
            outputs[0].1.clone()
        };
        let state = |session: &Session| pollster::block_on(session.state("sum")).unwrap();
        assert_eq!(run(&mut session), half([0.0; 5]));
        assert_eq!(state(&session), x);
        assert_eq!(run(&mut session), x);
        let twice = half([1.0, -2.0, 4.0, 60000.0, 0.5]);
        assert_eq!(state(&session), twice);
        session.set_state("sum", &half([1.0; 5])).unwrap();
        assert_eq!(run(&mut session), half([1.0; 5]));
        let held = session.memory_stats().states;
        assert_eq!(held, 16 * bytes(&gpu, 5).div_ceil(16));
    }
}

/// What a model of f16 takes on the device is half of that of f32 where the adapter has f16.
#[test]
fn weights_and_arena_are_half_as_large() {
    for gpu in gpus() {
        let stats = |dtype: DType| {
            let mut g = Graph::new();
            let x = g.input("x", Some(Fact::sized(dtype, &[64, 256]))).unwrap();
            let w = samples::uniform(&[256, 256], 1).cast(dtype).unwrap();
            let b = samples::uniform(&[256], 2).cast(dtype).unwrap();
            let (w, b) = (g.constant(w), g.constant(b));
            let y = g.add1(op("MatMul"), &[x, w]).unwrap();
            let y = g.add1(op("Add"), &[y, b]).unwrap();
            let y = g.add1(op("Relu"), &[y]).unwrap();
            let y = g.add1(op("Softmax"), &[y]).unwrap();
            g.output("y", y);
            let model = Model::new(g, &gpu, ModelOptions::default());
            let mut session = Session::new(&model).unwrap();
            let x = samples::uniform(&[64, 256], 3).cast(dtype).unwrap();
            pollster::block_on(session.run(&[("x", x)])).unwrap();
            session.memory_stats()
        };
        let (single, half) = (stats(DType::F32), stats(DType::F16));
        let by = if gpu.caps().f16 { 2 } else { 1 };
        assert_eq!(half.weights * by, single.weights);
        println!("arena: f32 {}, f16 {}", single.arenas, half.arenas);
    }
}

/// A window of more taps than a loop of a software adapter has rounds is summed by several dispatches, in f32.
#[test]
fn sums_over_long_windows_are_rounded_once() {
    let Some(gpu) = gpu(GpuOptions::new()) else {
        return;
    };
    let attrs = Attrs::new("AveragePool").with("kernel_shape", vec![300i64, 400]);
    let pool = Op::from_name("AveragePool", &attrs).unwrap();
    let x = samples::between(&[1, 1, 300, 400], 1, 0.0, 2.0);
    let case = Case::new("long", pool, vec![x]).halved().unwrap();
    assert_eq!(check(&case, &gpu), Ok(true));
}
