//! ResNet18 and U-Net at many sizes, in one session each: right answers, flat memory, programs made once, quick binding.

use prost::Message;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tilewright::graph::stage::Schedule;
use tilewright::graph::{host, samples};
use tilewright::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use tilewright::onnx::proto::type_proto;
use tilewright::onnx::{NoExternalData, decode_model, read_model};
use tilewright::tensor::nmse;
use tilewright::{Gpu, Graph, HostTensor, Model, ModelOptions, Session, block_on};

use super::models::{Test, adapter};

/// Between a result in 32 bits and its reference. Both models are at 1e-11 and below; a wrong edge of one tile is far
/// above.
const MOST_ERROR: f64 = 1e-9;

/// How many sizes are drawn after those given.
const DRAWN: usize = 100;

/// Parameters of the plans that are kept, and buffers that results are read through: they follow the last few sizes.
const SLACK: u64 = 1 << 16;

/// More sizes than a session keeps plans of (8), so that going round them binds each anew.
const ROUND: usize = 10;

/// A sample of the time of binding is of several rounds (50 ms): the system counts a thread's time in steps of 4 ms.
const ROUNDS: usize = 12;
const SAMPLES: usize = 11;

/// What binding may take for a node: the plan and its place on the device, with all programs there, and giving back an older
/// one. The aim is 20 us on a quiet machine; programs that share its caches add a fourth.
const MOST_BINDING: Duration = Duration::from_micros(30);

/// The sizes of an input: batch, channels, height, width.
type Size = [usize; 4];

/// Sizes that share their programs: kernels choose tiles by powers of two.
fn bucket(size: Size) -> Size {
    size.map(usize::next_power_of_two)
}

/// A session at one size after the other.
struct Many {
    gpu: Gpu,
    session: Session,
    input: String,
    /// Variants of the plans so far.
    variants: BTreeSet<String>,
    /// Buckets so far.
    buckets: BTreeSet<Size>,
    /// Sizes that brought new programs, and how many.
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
        let (variants, buckets, fresh, arena, others) = Default::default();
        Many {
            gpu,
            session,
            input,
            variants,
            buckets,
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
        if self.variants.len() == known {
            assert_eq!(
                made, 0,
                "programs for {size:?}, whose variants were all there"
            );
        }
        if !self.buckets.insert(bucket(size)) {
            assert_eq!(made, 0, "programs for {size:?}, whose bucket was there");
        }
        if made > 0 {
            self.fresh.push((size, made));
        }
        self.arena = self.arena.max(plan.arena);
        self.others.push(self.gpu.memory_stats().bytes - self.arena);
        output
    }

    /// What must hold over all runs, and of going round these sizes of the input from now on.
    fn finish(&mut self, sizes: &[Size; ROUND]) {
        println!(
            "{} programs in {} buckets; new ones at {:?}",
            self.gpu.program_count(),
            self.buckets.len(),
            self.fresh
        );
        let runs = self.others.len();
        let [first, middle, last] = [0, runs / 2, runs - 1].map(|run| self.others[run]);
        println!(
            "{} KiB of arena; besides: {} KiB at first, {} in the middle, {} in the end",
            self.arena >> 10,
            first >> 10,
            middle >> 10,
            last >> 10
        );
        assert!(
            last <= middle + SLACK,
            "{last} bytes besides the arena, {middle} in the middle"
        );
        self.steady(sizes);
        self.binding(sizes);
    }

    /// After each round of the same sizes there are as many bytes on the device.
    fn steady(&mut self, sizes: &[Size; ROUND]) {
        let mut round = || {
            for (seed, size) in sizes.iter().enumerate() {
                let input = samples::uniform(size, seed as u64);
                block_on(self.session.run(&[(&self.input, input)])).unwrap();
            }
            self.gpu.memory_stats().bytes
        };
        let after: Vec<u64> = (0..4).map(|_| round()).collect();
        println!("bytes after rounds: {after:?}");
        assert!(
            after[1..].iter().all(|bytes| *bytes == after[1]),
            "{after:?}"
        );
    }

    /// The time that the session takes for each node to bind a size anew: the median of samples.
    fn binding(&mut self, sizes: &[Size; ROUND]) {
        let schedule = Schedule::new(self.session.graph(), Some(self.gpu.caps())).unwrap();
        let nodes = schedule.places.iter().flatten().count() as u32;
        let programs = self.gpu.program_count();
        let mut sample = || {
            let start = thread_time();
            for size in sizes.iter().cycle().take(ROUNDS * ROUND) {
                block_on(self.session.prepare(&[(&self.input, &size[..])])).unwrap();
            }
            (thread_time() - start) / (nodes * (ROUNDS * ROUND) as u32)
        };
        let mut times: Vec<Duration> = (0..SAMPLES).map(|_| sample()).collect();
        assert_eq!(self.gpu.program_count(), programs);
        times.sort();
        println!("binding: {times:?} for each of {nodes} nodes");
        let median = times[times.len() / 2];
        assert!(median <= MOST_BINDING, "{median:?} a node");
    }
}

/// Processor time of this thread, which other tests and programs do not add to: it does all of the binding. Where the system
/// does not tell it, the time since the first call.
fn thread_time() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|text| text.split(' ').next()?.parse().ok());
    told.map_or_else(
        || START.get_or_init(Instant::now).elapsed(),
        Duration::from_nanos,
    )
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
    many.finish(&std::array::from_fn(|i| [i + 1, c, h, w]));
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
    many.finish(&std::array::from_fn(|i| {
        [1 + i % 3, 3, 8 * (1 + i % 5), 64]
    }));
}
