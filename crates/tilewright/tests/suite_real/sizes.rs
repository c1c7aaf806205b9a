//! ResNet18 and U-Net at many sizes, in one session each: right answers, flat memory, programs made once, quick binding.

use prost::Message;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tilewright::graph::bind::bind;
use tilewright::graph::lower::Derived;
use tilewright::graph::stage::Schedule;
use tilewright::graph::{Bindings, Symbol, host, samples};
use tilewright::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use tilewright::onnx::proto::type_proto;
use tilewright::onnx::{NoExternalData, decode_model, read_model};
use tilewright::tensor::nmse;
use tilewright::{Gpu, Graph, HostTensor, Model, ModelOptions, Session, block_on};

use crate::models::{Test, adapter};

/// Between a result in 32 bits and its reference. Both models are at 1e-11 and below; a wrong edge of one tile is far
/// above.
const MOST_ERROR: f64 = 1e-9;

/// How many sizes are drawn after those given.
const DRAWN: usize = 100;

/// Parameters of the plans that are kept, and buffers that results are read through.
const SLACK: u64 = 1 << 19;

/// What binding may take for a node. The aim is 20 us; the rest is for a busy machine.
const MOST_BINDING: Duration = Duration::from_micros(60);

/// The sizes of an input: batch, channels, height, width.
type Size = [usize; 4];

/// A session at one size after the other.
struct Many {
    gpu: Gpu,
    session: Session,
    input: String,
    /// Variants of the plans so far.
    variants: BTreeSet<String>,
    /// Sizes that brought new ones, and how many programs were made for them.
    fresh: Vec<(Size, usize)>,
    /// The largest arena so far, and the other bytes on the device after each run.
    arena: u64,
    others: Vec<u64>,
}

impl Many {
    fn new(graph: &Graph) -> Many {
        let gpu = adapter();
        let model = Model::new(graph.clone(), &gpu, ModelOptions::default());
        let session = Session::new(&model).unwrap();
        assert!(
            session.host_steps().is_empty(),
            "{:?}",
            session.host_steps()
        );
        let input = graph.inputs()[0].0.to_string();
        let (variants, fresh, arena, others) = Default::default();
        Many {
            gpu,
            session,
            input,
            variants,
            fresh,
            arena,
            others,
        }
    }

    fn run(&mut self, input: HostTensor) -> HostTensor {
        let size: Size = input.shape()[..].try_into().unwrap();
        let before = self.gpu.program_count();
        let outputs = block_on(self.session.run(&[(&self.input, input)]));
        let output = outputs
            .unwrap_or_else(|e| panic!("{size:?}: {e}"))
            .remove(0)
            .1;
        let made = self.gpu.program_count() - before;
        let plan = self.session.plans()[0];
        let known = self.variants.len();
        self.variants
            .extend(plan.dispatches().map(|d| d.variant.to_string()));
        if self.variants.len() > known {
            self.fresh.push((size, made));
        } else {
            assert_eq!(
                made, 0,
                "programs for {size:?}, whose variants were all there"
            );
        }
        self.arena = self.arena.max(plan.arena);
        self.others.push(self.gpu.memory_stats().bytes - self.arena);
        output
    }

    /// What must hold over all runs.
    fn finish(&self, most_fresh: usize) {
        println!(
            "{} programs; new ones at {:?}",
            self.gpu.program_count(),
            self.fresh
        );
        assert!(
            self.fresh.len() <= most_fresh,
            "new programs at {} sizes",
            self.fresh.len()
        );
        let last = self.others[self.others.len() - 1];
        let (first, most) = (self.others[0], self.others.iter().max().unwrap());
        println!(
            "{} KiB of arena; besides: {} KiB at first, {} at most, {} in the end",
            self.arena >> 10,
            first >> 10,
            most >> 10,
            last >> 10
        );
        assert!(
            *most <= last + SLACK,
            "{most} bytes besides the arena, {last} in the end"
        );
    }

    /// The time that binding takes for each node, at its best over a few rounds of these sizes.
    fn binding(&self, sizes: &[Bindings]) {
        let (graph, caps) = (self.session.graph(), self.gpu.caps());
        let schedule = Schedule::new(graph, Some(caps)).unwrap();
        let nodes = schedule.places.iter().flatten().count() as u32;
        let derived = Derived::default();
        let mut round = || {
            let start = Instant::now();
            for bindings in sizes {
                bind(graph, &schedule, bindings, caps, &derived).unwrap();
            }
            start.elapsed() / (nodes * sizes.len() as u32)
        };
        let first = round();
        let best = (0..5).map(|_| round()).min().unwrap();
        println!("binding: {best:?} for each of {nodes} nodes; with packing of weights {first:?}");
        assert!(best <= MOST_BINDING, "{best:?} a node");
    }
}

fn bindings(sizes: &[(&str, usize)]) -> Bindings {
    let mut bindings = Bindings::default();
    for (name, size) in sizes {
        bindings.set(Symbol::new(name), *size as i64);
    }
    bindings
}

fn reference(graph: &Graph, input: &HostTensor) -> HostTensor {
    host::run(graph, std::slice::from_ref(input))
        .unwrap()
        .remove(0)
}

/// Some of `images`, each a batch of one, as one batch.
fn batch(images: &[HostTensor], which: &[usize]) -> HostTensor {
    let mut shape = images[0].shape().to_vec();
    shape[0] = which.len();
    let values = which
        .iter()
        .flat_map(|i| images[*i].to_vec::<f32>().unwrap());
    HostTensor::from_vec(shape, values.collect()).unwrap()
}

/// Batches of eight images; each must come out as the image does alone, and as its reference.
fn in_batches(name: &str, image: [usize; 3], most: usize) {
    let graph = Test::named(name).graph();
    let [c, h, w] = image;
    let images: Vec<HostTensor> = (0..8)
        .map(|seed| samples::uniform(&[1, c, h, w], seed))
        .collect();
    let expected: Vec<HostTensor> = images.iter().map(|x| reference(&graph, x)).collect();
    let mut many = Many::new(&graph);
    let alone: Vec<HostTensor> = images.iter().map(|x| many.run(x.clone())).collect();
    let mut rng = StdRng::seed_from_u64(1);
    let drawn: Vec<usize> = (0..DRAWN).map(|_| rng.random_range(1..=most)).collect();
    let mut worst = 0f64;
    for n in [1, 2, 7, 1].into_iter().chain(drawn) {
        let which: Vec<usize> = (0..n).map(|_| rng.random_range(0..images.len())).collect();
        let output = many.run(batch(&images, &which));
        for other in [&expected, &alone] {
            let error = nmse(&output, &batch(other, &which)).unwrap();
            assert!(error <= MOST_ERROR, "{name}, {which:?}: {error:e}");
            worst = worst.max(error);
        }
    }
    println!("{name}: error {worst:e} at most");
    // Ranges of sizes that share variants grow with the size: at most two in each power of two.
    many.finish(2 * (most.ilog2() as usize + 1));
    many.binding(&[1, 2, 7, most].map(|n| bindings(&[("N", n)])));
}

#[test]
fn resnet18_in_batches() {
    in_batches("resnet18", [3, 64, 64], 16);
}

#[test]
fn unet_in_batches() {
    in_batches("unet", [3, 96, 96], 8);
}

/// U-Net with free height and width.
fn free_unet() -> Graph {
    let file = std::fs::read(Test::named("unet").path()).unwrap();
    let mut model = decode_model(file).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let value = graph.input[0]
        .r#type
        .as_mut()
        .unwrap()
        .value
        .as_mut()
        .unwrap();
    let type_proto::Value::TensorType(tensor) = value else {
        panic!("the input is no tensor");
    };
    let dims = &mut tensor.shape.as_mut().unwrap().dim;
    for (axis, name) in [(2, "H"), (3, "W")] {
        let value = Some(dimension::Value::DimParam(name.to_owned()));
        dims[axis] = Dimension {
            denotation: None,
            value,
        };
    }
    read_model(model.encode_to_vec(), &NoExternalData).unwrap()
}

#[test]
fn unet_in_all_sizes() {
    let graph = free_unet();
    let mut many = Many::new(&graph);
    let mut rng = StdRng::seed_from_u64(2);
    // Three halvings on the way down.
    let mut side = || 8 * rng.random_range(1..=8);
    let drawn: Vec<Size> = (0..DRAWN).map(|i| [1 + i % 3, 3, side(), side()]).collect();
    let given = [
        [1, 3, 96, 96],
        [2, 3, 64, 32],
        [7, 3, 8, 24],
        [1, 3, 96, 96],
    ];
    let mut worst = 0f64;
    for (seed, size) in given.into_iter().chain(drawn).enumerate() {
        let input = samples::uniform(&size, seed as u64);
        let expected = reference(&graph, &input);
        let error = nmse(&many.run(input), &expected).unwrap();
        assert!(error <= MOST_ERROR, "{size:?}: {error:e}");
        worst = worst.max(error);
    }
    println!("unet: error {worst:e} at most");
    many.finish(DRAWN / 4);
    many.binding(&given.map(|[n, _, h, w]| bindings(&[("N", n), ("H", h), ("W", w)])));
}
