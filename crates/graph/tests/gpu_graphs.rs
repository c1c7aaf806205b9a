//! Graphs of a few nodes whose interplay matters: what one node keeps, packs or knows must not disturb another. Each runs
//! on the device and on the host, and both must agree.

mod common;

use common::add;
use tilewright_device::GpuOptions;
use tilewright_graph::{Attrs, Fact, Graph, Model, ModelOptions, Op, Session, Value, samples};
use tilewright_tensor::{DType, HostTensor, nmse};

fn input(g: &mut Graph, t: &HostTensor) -> Value {
    let name = format!("x{}", g.inputs().len());
    g.input(&name, Some(Fact::sized(t.dtype(), t.shape())))
        .unwrap()
}

/// Runs the graph on the adapter and on the host; integers are equal, floats close. The operators on the host.
fn agree(graph: &Graph, inputs: &[HostTensor]) -> Vec<String> {
    let Some(gpu) = common::gpu(GpuOptions::new()) else {
        return vec![];
    };
    let names: Vec<String> = (0..inputs.len()).map(|i| format!("x{i}")).collect();
    let named: Vec<(&str, HostTensor)> = (names.iter().zip(inputs))
        .map(|(n, t)| (n.as_str(), t.clone()))
        .collect();
    let options = ModelOptions::default;
    let host = Model::host(graph.clone(), options());
    let device = Model::new(graph.clone(), &gpu, options());
    let [mut host, mut device] = [host, device].map(|m| Session::new(&m).unwrap());
    let want = pollster::block_on(host.run(&named)).unwrap();
    let got = pollster::block_on(device.run(&named)).unwrap();
    for ((name, want), (_, got)) in want.iter().zip(&got) {
        assert_eq!(got.shape(), want.shape(), "{name}");
        if want.dtype().is_float() {
            let error = nmse(got, want).unwrap();
            assert!(error < 1e-10, "{name}: {error:e}\n got {got}\nwant {want}");
        } else {
            assert_eq!(got, want, "{name}");
        }
    }
    device.host_steps().into_iter().map(|s| s.op).collect()
}

/// A convolution and its transpose pack one filter in two ways.
#[test]
fn tied_weights() {
    for (channels, group) in [(8usize, 1i64), (6, 6)] {
        let x = samples::uniform(&[1, channels, 7, 7], 1);
        let w = samples::uniform(&[channels, channels / group as usize, 3, 3], 2);
        let g = &mut Graph::new();
        let (x0, w) = (input(g, &x), g.constant(w));
        let attrs = |name| Attrs::new(name).with("group", group);
        let h = add(g, "Conv", attrs("Conv"), &[x0, w]);
        let y = add(g, "ConvTranspose", attrs("ConvTranspose"), &[h, w]);
        g.output("y", y);
        assert!(agree(g, &[x]).is_empty());
    }
}

/// Values beyond 32 bits that are known before a run keep their nodes on the host.
#[test]
fn wide_constants() {
    let ids = samples::of(&[4], &[1i64, -2, 3, 0]);
    let g = &mut Graph::new();
    let x = input(g, &ids);
    let wide = g.constant(samples::of(&[4], &[1i64 << 40, -2, i64::MIN, 4]));
    let same = add(g, "Equal", Attrs::new("Equal"), &[x, wide]);
    let least = add(g, "Where", Attrs::new("Where"), &[same, x, wide]);
    let order = g.constant(samples::of(&[4], &[3i64, 2, 1, 0]));
    let taken = add(g, "Gather", Attrs::new("Gather"), &[wide, x]);
    let turned = add(g, "Gather", Attrs::new("Gather"), &[x, order]);
    g.output("same", same);
    g.output("least", least);
    g.output("turned", turned);
    g.output("taken", taken);
    let mut host = agree(g, &[ids]);
    host.sort();
    assert_eq!(host, ["Equal", "Gather", "Where"]);
}

/// What differs between pow and roots: infinities and signed zeros.
#[test]
fn roots_of_special_values() {
    let x = [4.0f32, 0.25, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY];
    let x = samples::of(&[6], &x);
    for exponent in [0.5f32, -0.5, -1.0, 2.0, 3.0] {
        let g = &mut Graph::new();
        let v = input(g, &x);
        let e = g.constant(HostTensor::scalar(exponent));
        let y = add(g, "Pow", Attrs::new("Pow"), &[v, e]);
        // Bits, since infinities have no error.
        let bits = Attrs::new("BitCast").with("to", 6i64);
        let y = add(g, "BitCast", bits, &[y]);
        g.output("y", y);
        assert_eq!(g.fact(y).map(|f| f.dtype), Some(DType::I32));
        assert!(agree(g, std::slice::from_ref(&x)).is_empty(), "{exponent}");
    }
}

/// A late node asked for one output, and then for two.
#[test]
fn more_outputs_of_an_equal_late_node() {
    let x = samples::of(&[5], &[3f32, 1.0, 3.0, 2.0, 1.0]);
    let g = &mut Graph::new();
    let v = input(g, &x);
    let op = || Op::from_name("Unique", &Attrs::new("Unique")).unwrap();
    let first = g.add_node(op(), &[Some(v)], "a", 1).unwrap();
    let both = g.add_node(op(), &[Some(v)], "b", 2).unwrap();
    assert_eq!((first[0], both.len()), (both[0], 2));
    g.output("y", both[0]);
    g.output("at", both[1]);
    assert_eq!(agree(g, &[x]), ["Unique"]);
}

/// An input of a node behind a convolution.
enum Given {
    Not,
    Fixed(HostTensor),
    Fed(HostTensor),
}

/// What follows a convolution and takes its sizes from a run: the shape of its result is not known before.
#[test]
fn late_followers_of_convolutions() {
    use Given::*;
    let ints = samples::ints;
    let scales = samples::of(&[4], &[1f32, 1.0, 2.0, 1.5]);
    let slice = [Fed(ints(&[1, 2])), Fed(ints(&[4, 9])), Fixed(ints(&[2, 3]))];
    let split = Attrs::new("Split").with("axis", 3i64);
    let pads = ints(&[0, 0, 1, 2, 0, 0, 0, 3]);
    late(Attrs::new("Slice"), 1, slice);
    late(Attrs::new("Resize"), 1, [Not, Fed(scales)]);
    late(
        Attrs::new("Resize"),
        1,
        [Not, Not, Fed(ints(&[1, 4, 3, 5]))],
    );
    late(Attrs::new("Pad"), 1, [Fed(pads)]);
    late(split, 2, [Fed(ints(&[3, 5]))]);
}

/// Such a node between convolutions, so that it could follow the layout of the first.
fn late<const N: usize>(attrs: Attrs, outputs: usize, rest: [Given; N]) {
    let x = samples::uniform(&[1, 3, 6, 8], 1);
    let g = &mut Graph::new();
    let (v, w) = (input(g, &x), g.constant(samples::uniform(&[4, 3, 1, 1], 2)));
    let again = g.constant(samples::uniform(&[5, 4, 1, 1], 3));
    let mut fed = vec![x];
    let mut inputs = vec![Some(add(g, "Conv", Attrs::new("Conv"), &[v, w]))];
    for given in rest {
        inputs.push(match given {
            Given::Not => None,
            Given::Fixed(t) => Some(g.constant(t)),
            Given::Fed(t) => {
                fed.push(t);
                let name = format!("x{}", g.inputs().len());
                let t = &fed[fed.len() - 1];
                Some(
                    g.input(&name, Some(Fact::sized(t.dtype(), t.shape())))
                        .unwrap(),
                )
            }
        });
    }
    let op = Op::from_name(attrs.op(), &attrs).unwrap();
    let made = g.add_node(op, &inputs, "late", outputs).unwrap();
    for (i, v) in made.into_iter().enumerate() {
        assert!(g.fact(v).is_none(), "{g}");
        let y = add(g, "Conv", Attrs::new("Conv"), &[v, again]);
        g.output(&format!("late{i}"), v);
        g.output(&format!("y{i}"), y);
    }
    assert_eq!(agree(g, &fed), [""; 0], "{g}");
}

/// A dequantisation of what has no shape before a run.
#[test]
fn late_dequantisation() {
    let x = samples::integers(DType::U8, &[3, 4], 1, 0, 256);
    let g = &mut Graph::new();
    let v = input(g, &x);
    let shape = g.input("x1", Some(Fact::sized(DType::I64, &[2]))).unwrap();
    let v = add(g, "Reshape", Attrs::new("Reshape"), &[v, shape]);
    let scale = g.constant(HostTensor::scalar(0.25f32));
    let zero = g.constant(HostTensor::scalar(7u8));
    let y = add(
        g,
        "DequantizeLinear",
        Attrs::new("DequantizeLinear"),
        &[v, scale, zero],
    );
    g.output("y", y);
    assert_eq!(agree(g, &[x, samples::ints(&[2, 6])]), [""; 0]);
}
