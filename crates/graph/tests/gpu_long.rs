//! Axes so long that one thread's loops would pass 65,535 rounds, after which lavapipe of Mesa 22 leaves every loop of a shader:
//! docs/shaders.md, "Loops". Few values each, so that references stay cheap.

mod common;

use common::{check, gpu};
use tilewright_device::GpuOptions;
use tilewright_graph::{Attrs, Case, Op, samples};
use tilewright_tensor::{DType, HostTensor};

/// Longer than what a thread can visit four at a time, and no multiple of four.
const LONG: usize = 300_002;
/// Longer than what a thread can visit one at a time.
const TALL: usize = 140_001;
/// Sums of so many f32 round more often than those of the usual cases; what a loop leaves out is above 1e-3.
const SUMS: f64 = 1e-8;

fn op(attrs: &Attrs) -> Op {
    Op::from_name(attrs.op(), attrs).unwrap()
}

fn case(attrs: &Attrs, inputs: Vec<HostTensor>) -> Case {
    let shapes: Vec<_> = inputs.iter().map(|t| t.shape().to_string()).collect();
    let name = format!("{} {attrs} of {}", attrs.op(), shapes.join(", "));
    Case::new(&name, op(attrs), inputs).nmse(SUMS)
}

/// All cases on the device, with no step left to the host; also with default limits, and the kernels that go with them.
fn agree(cases: impl IntoIterator<Item = Case>) {
    let cases: Vec<Case> = cases.into_iter().collect();
    let mut failures = vec![];
    for options in [GpuOptions::new(), GpuOptions::new().default_limits_only()] {
        let limits = match options.default_limits_only {
            true => "on default limits",
            false => "on the adapter",
        };
        let Some(gpu) = gpu(options) else { return };
        for case in &cases {
            match check(case, &gpu) {
                Ok(true) => {}
                Ok(false) => failures.push(format!("{limits}: {}: a host step", case.name)),
                Err(error) => failures.push(format!("{limits}: {}: {error:.300}", case.name)),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// One long row, and the same along an axis with neighbours.
fn shapes() -> [(Vec<usize>, i64); 3] {
    [(vec![LONG], 0), (vec![TALL, 3], 0), (vec![1, TALL, 4], 1)]
}

#[test]
fn softmax_and_its_relatives() {
    for name in ["Softmax", "LogSoftmax", "Hardmax"] {
        agree(shapes().map(|(shape, axis)| {
            let x = samples::between(&shape, 1, -4.0, 4.0);
            case(&Attrs::new(name).with("axis", axis), vec![x])
        }));
    }
}

#[test]
fn running_sums() {
    for (exclusive, reverse) in [(0i64, 0i64), (1, 0), (0, 1), (1, 1)] {
        let attrs = Attrs::new("CumSum")
            .with("exclusive", exclusive)
            .with("reverse", reverse);
        agree(shapes().map(|(shape, axis)| {
            let axis = HostTensor::scalar(axis);
            let x = samples::integers(DType::I32, &shape, 2, -9, 10);
            case(&attrs, vec![x, axis]).constant(&[1])
        }));
        let x = samples::uniform(&[LONG], 3);
        agree([case(&attrs, vec![x, HostTensor::scalar(0i64)]).constant(&[1])]);
    }
}

#[test]
fn picks() {
    for (shape, axis) in shapes() {
        // What is looked for lies at the end.
        let n: usize = shape.iter().product();
        let x = samples::uniform(&[n], 4).to_f64();
        let raised = |(i, x): (usize, f64)| {
            if i + 40 > n {
                (x * 9.0) as f32
            } else {
                x as f32
            }
        };
        let x: Vec<f32> = x.into_iter().enumerate().map(raised).collect();
        let x = samples::of(&shape, &x);
        let arg = |name| Attrs::new(name).with("axis", axis).with("keepdims", 0i64);
        let top = |largest: i64| {
            let attrs = Attrs::new("TopK")
                .with("axis", axis)
                .with("largest", largest);
            case(&attrs, vec![x.clone(), samples::ints(&[11])]).constant(&[1])
        };
        agree([
            case(&arg("ArgMax"), vec![x.clone()]),
            case(&arg("ArgMin"), vec![x.clone()]),
            top(1),
            top(0),
        ]);
    }
}

#[test]
fn normalisation() {
    let affine = |n: usize| [samples::uniform(&[n], 6), samples::uniform(&[n], 7)];
    let with = |x: HostTensor, more: [HostTensor; 2]| vec![x].into_iter().chain(more).collect();
    let x = |shape: &[usize]| samples::between(shape, 5, -1.0, 3.0);
    agree([
        case(
            &Attrs::new("InstanceNormalization"),
            with(x(&[1, 2, 512, 512]), affine(2)),
        ),
        case(
            &Attrs::new("InstanceNormalization"),
            with(x(&[1, 2, LONG]), affine(2)),
        ),
        case(
            &Attrs::new("LayerNormalization").with("axis", 1i64),
            with(x(&[2, LONG]), affine(LONG)),
        ),
        case(
            &Attrs::new("LpNormalization").with("axis", 0i64),
            vec![x(&[TALL, 3])],
        ),
    ]);
    for shape in [&[1, 2, LONG][..], &[LONG, 3], &[LONG, 4]] {
        let c = shape[1];
        let mut inputs: Vec<HostTensor> = with(x(shape), affine(c));
        inputs.extend([
            samples::uniform(&[c], 8),
            samples::between(&[c], 9, 0.5, 1.0),
        ]);
        let training = Attrs::new("BatchNormalization").with("training_mode", 1i64);
        agree([
            case(&Attrs::new("BatchNormalization"), inputs.clone()),
            case(&training, inputs),
        ]);
    }
}

#[test]
fn attention_to_many_keys() {
    let x = |places: usize, seed| samples::uniform(&[1, 2, places, 4], seed);
    agree([case(
        &Attrs::new("Attention"),
        vec![x(1, 1), x(TALL, 2), x(TALL, 3)],
    )]);
}

/// Products whose k is over what a thread of the usual loop can go through: floats (k by fours) and int8 (by sixteens).
#[test]
fn products() {
    let sum = |shape: &[usize], seed| samples::between(shape, seed, -1.0, 1.5);
    let bytes = |shape: &[usize], seed| samples::integers(DType::U8, shape, seed, 0, 256);
    let gemm = |a: i64, b: i64| Attrs::new("Gemm").with("transA", a).with("transB", b);
    let k = LONG;
    agree([
        case(
            &Attrs::new("MatMul"),
            vec![sum(&[9, k], 1), sum(&[k, 5], 2)],
        ),
        case(
            &Attrs::new("MatMul"),
            vec![sum(&[1, 16 * k], 3), sum(&[16 * k, 1], 4)],
        ),
        case(
            &gemm(1, 1),
            vec![sum(&[k, 10], 5), sum(&[3, k], 6), sum(&[3], 7)],
        ),
        case(
            &Attrs::new("MatMulInteger"),
            vec![bytes(&[9, k], 8), bytes(&[k, 5], 9)],
        ),
    ]);
}

#[test]
fn windows() {
    let x = |shape: &[usize], seed| samples::between(shape, seed, -1.0, 1.5);
    let pool = |name, kernel: &[i64]| Attrs::new(name).with("kernel_shape", kernel.to_vec());
    let mut max = case(&pool("MaxPool", &[300, 260]), vec![x(&[1, 2, 301, 262], 1)]);
    max.nmse = 0.0;
    agree([
        max,
        case(
            &pool("AveragePool", &[300, 260]),
            vec![x(&[1, 1, 301, 262], 2)],
        ),
        case(
            &pool("AveragePool", &[LONG as i64]),
            vec![x(&[1, 1, LONG], 3)],
        ),
        case(
            &pool("LpPool", &[2, 300, 200]),
            vec![x(&[1, 1, 2, 300, 201], 4)],
        ),
        // One filter as long as the signal, then many taps of several channels.
        case(
            &Attrs::new("Conv"),
            vec![x(&[1, 1, LONG + 8], 5), x(&[1, 1, LONG], 6)],
        )
        .constant(&[1]),
        case(
            &Attrs::new("Conv"),
            vec![x(&[1, 16, 128, 130], 7), x(&[4, 16, 125, 125], 8)],
        )
        .constant(&[1]),
    ]);
}

#[test]
fn shrinking() {
    let attrs = Attrs::new("Resize")
        .with("mode", "linear".to_string())
        .with("antialias", 1i64);
    let x = samples::uniform(&[1, 1, 400, 360], 1);
    let sizes = samples::ints(&[1, 1, 2, 2]);
    let inputs = vec![Some(x), None, None, Some(sizes)];
    let case = Case::with_optional("to 2 x 2", op(&attrs), inputs).constant(&[3]);
    agree([case.nmse(SUMS)]);
}

#[test]
fn many_parts_of_a_channel() {
    let x = samples::between(&[70_001, 2, 3], 1, -1.0, 3.0);
    let c = |seed| samples::between(&[2], seed, 0.5, 1.0);
    let attrs = Attrs::new("BatchNormalization").with("training_mode", 1i64);
    agree([case(&attrs, vec![x, c(2), c(3), c(4), c(5)])]);
}
