//! The engine's own side of a case: a graph of one operator, planned as in any model, with its operands on the device.
//!
//! Operands and results lie as they do inside a model (convolutions channels last), constant weights are packed once, and
//! nothing is copied in a run: the plan's dispatches are replayed over an arena that was filled before.

use super::data::{self, points};
use super::exact::exact;
use super::work::{Gemm, MapOp, Work};
use crate::Failure;
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::time::Instant;
use tilewright::device::{Buffer, BufferUse, Slot};
use tilewright::graph::bind::bind;
use tilewright::graph::lower::{Derived, SlotUse};
use tilewright::graph::ops::{Conv, Layout, Window};
use tilewright::graph::plan::{Plan, PlanStage, Transfer};
use tilewright::graph::stage::Schedule;
use tilewright::graph::{Attrs, Bindings, Fact, Graph, Op, Value, passes};
use tilewright::{DType, Gpu, HostTensor, block_on};
use tilewright_benches::Candidate;

/// A case on the device, found right.
pub(super) struct Ours {
    pub(super) candidate: Candidate,
    /// Seconds from the graph to the first result: planning, packing, compilation and the run.
    pub(super) first: f64,
    pub(super) nmse: f64,
    /// Elements that were compared, and what they must be.
    pub(super) at: Vec<usize>,
    pub(super) expected: Vec<f64>,
    pub(super) memory: Memory,
    /// The variants of the dispatches.
    pub(super) kernels: Vec<String>,
}

/// A case that this adapter has no room for.
#[derive(Debug)]
pub(super) struct TooLarge(String);

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooLarge {}

impl TooLarge {
    /// Whether an error says that sizes are over a limit.
    pub(super) fn is(error: &Failure) -> bool {
        use tilewright::{device, graph};
        let size = |e: &device::Error| {
            matches!(
                e,
                device::Error::TooLarge { .. } | device::Error::OutOfMemory { .. }
            )
        };
        let mut cause: Option<&dyn std::error::Error> = Some(&**error);
        while let Some(e) = cause {
            let limit = matches!(e.downcast_ref(), Some(graph::Error::Limit { .. }));
            if e.is::<Self>() || limit || e.downcast_ref().is_some_and(size) {
                return true;
            }
            cause = e.source();
        }
        false
    }
}

/// Bytes on the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Operands and results of the run, and what lies between.
    pub(super) arena: u64,
    /// Of it, what is neither an operand nor the result.
    pub(super) scratch: u64,
    /// Packed weights.
    pub(super) weights: u64,
}

impl Memory {
    pub(super) fn json(self) -> Json {
        json!({"arena_bytes": self.arena, "scratch_bytes": self.scratch, "weight_bytes": self.weights})
    }
}

impl Ours {
    /// Plans, uploads, runs, and compares with f64.
    ///
    /// # Errors
    /// [`TooLarge`] and what the engine reports.
    pub(super) fn new(gpu: &Gpu, work: &Work) -> Result<Self, Failure> {
        let start = Instant::now();
        let graph = passes::device(&graph(work, gpu)?, gpu.caps())?;
        let schedule = Schedule::new(&graph, Some(gpu.caps()))?;
        let derived = Derived::default();
        let plan = bind(
            &graph,
            &schedule,
            &Bindings::default(),
            gpu.caps(),
            &derived,
        )?;
        let placed = Placed::new(gpu, &graph, &plan)?;
        placed.fill(gpu, work)?;
        let dispatches: Vec<_> = plan.dispatches().cloned().collect();
        let replay = block_on(gpu.bind(&dispatches, |slot| placed.place(slot)))?;
        let planned = start.elapsed().as_secs_f64();
        let candidate = Candidate::new(gpu, replay)?;
        let at = points(placed.result.shape.iter().product());
        let got = placed.read(gpu, work, &at)?;
        let expected = exact(work, &at)?.ok_or("no exact result")?;
        Ok(Self {
            nmse: data::nmse(&got, &expected),
            at,
            expected,
            first: planned + candidate.first,
            candidate,
            memory: placed.memory(&plan),
            kernels: dispatches.iter().map(|d| d.variant.to_string()).collect(),
        })
    }
}

/// One operator; operands are inputs, but for constant weights.
fn graph(work: &Work, gpu: &Gpu) -> Result<Graph, Failure> {
    let shapes = work.shapes()?.ok_or("a model is no single operator")?;
    let (mut graph, mut values) = (Graph::new(), vec![]);
    for (t, shape) in shapes.operands.iter().enumerate() {
        let shape = ours(work, shape, t == 0);
        let count = shape
            .iter()
            .try_fold(work.dtype().size_bytes() as u64, |n, &d| {
                n.checked_mul(d as u64)
            });
        let limit = gpu.caps().limits.binding_bytes;
        if count.is_none_or(|bytes| bytes > limit) {
            let what =
                format!("an operand of {shape:?} is over the adapter's limit of {limit} bytes");
            return Err(TooLarge(what).into());
        }
        values.push(if t == 1 && has_weight(work) {
            graph.constant(data::tensor(work.dtype(), t, &shape, |i| i)?)
        } else {
            graph.input(&format!("x{t}"), Some(Fact::sized(work.dtype(), &shape)))?
        });
    }
    let op = operator(work)?;
    let mut inputs = values.clone();
    if matches!(work, Work::Map(w) if w.op == MapOp::LayerNorm) {
        let ones = vec![1f32; shapes.result[1]];
        inputs.push(graph.constant(HostTensor::from_vec([shapes.result[1]], ones)?));
    }
    let y = graph.add1(op, &inputs)?;
    graph.output("y", y);
    // Operands outlive the run, so that no run overwrites what the next one reads.
    let live = graph.inputs().to_vec();
    for (name, value) in live {
        graph.output(&name, value);
    }
    Ok(graph)
}

fn has_weight(work: &Work) -> bool {
    matches!(work, Work::Conv(_) | Work::Gemm(Gemm { batch: 1, .. }))
}

fn operator(work: &Work) -> Result<Op, Failure> {
    let named = |attrs: Attrs| Ok(Op::from_name(attrs.op(), &attrs)?);
    match work {
        Work::Gemm(_) => named(Attrs::new("MatMul")),
        Work::Conv(w) => {
            let of = |list: &[usize]| list.iter().map(|&n| n as i64).collect::<Vec<_>>();
            let window = Window {
                strides: of(&w.stride),
                dilations: of(&w.dilation),
                pads: of(&w.pad),
                ..Window::default()
            };
            Ok(Conv {
                group: w.groups as i64,
                window,
                layout: Layout::ChannelsLast,
            }
            .into())
        }
        Work::Attention(w) => named(Attrs::new("Attention").with("is_causal", w.causal)),
        Work::Map(w) => named(match w.op {
            MapOp::Add => Attrs::new("Add"),
            MapOp::Relu => Attrs::new("Relu"),
            MapOp::Gelu => Attrs::new("Gelu"),
            MapOp::Softmax => Attrs::new("Softmax").with("axis", -1i64),
            MapOp::LayerNorm => Attrs::new("LayerNormalization")
                .with("axis", -1i64)
                .with("epsilon", 1e-5f32),
        }),
        Work::Model(_) => Err("a model is no single operator".into()),
    }
}

/// A shape of the protocol as it lies here: images channels last, one product without its batch axis.
fn ours(work: &Work, shape: &[usize], image: bool) -> Vec<usize> {
    match (work, shape) {
        (Work::Conv(_), &[n, c, h, w]) if image => vec![n, h, w, c],
        (Work::Gemm(Gemm { batch: 1, .. }), [_, matrix @ ..]) => matrix.to_vec(),
        _ => shape.to_vec(),
    }
}

/// Where element `at` of an image that lies channels last stands channels first, or the other way round: with `shape` of
/// the side that `at` counts in, as (images, outer extent, inner extent).
fn turned([outer, inner]: [usize; 2], at: usize) -> usize {
    let (image, rest) = (at / (outer * inner), at % (outer * inner));
    image * outer * inner + rest % inner * outer + rest / inner
}

/// A plan in buffers.
struct Placed {
    arena: Buffer,
    buffers: HashMap<Slot, (Buffer, u64)>,
    roots: Vec<Slot>,
    inputs: Vec<(usize, Transfer)>,
    result: Transfer,
    weights: u64,
}

impl Placed {
    fn new(gpu: &Gpu, graph: &Graph, plan: &Plan) -> Result<Self, Failure> {
        let arena = gpu.buffer(plan.arena.max(16).next_multiple_of(16), BufferUse::Storage)?;
        let roots: Vec<Slot> = (0..plan.slots.len() as u32)
            .map(|i| plan.root(Slot(i)))
            .collect();
        let mut buffers = HashMap::new();
        let mut weights = 0;
        for (slot, weight) in plan.constants() {
            let tensor = weight.load()?;
            let bytes = stored(&tensor, gpu)?;
            let size = (bytes.len() as u64).max(1).next_multiple_of(16);
            let buffer = gpu.buffer(size, BufferUse::Storage)?;
            gpu.write(&buffer, 0, &bytes)?;
            weights += size;
            buffers.insert(slot, (buffer, 0));
        }
        for (i, slot) in plan.slots.iter().enumerate() {
            if matches!(slot, SlotUse::Arena { .. }) {
                buffers.insert(Slot(i as u32), (arena.clone(), plan.offsets[i]));
            }
        }
        let (mut inputs, mut downloads) = (vec![], vec![]);
        for stage in &plan.stages {
            match stage {
                PlanStage::Host(node) => {
                    let node = &graph.nodes()[*node as usize];
                    return Err(
                        format!("{} runs on the host on this adapter", node.op.name()).into(),
                    );
                }
                PlanStage::Device {
                    uploads,
                    downloads: read,
                    ..
                } => {
                    inputs.extend(uploads.iter().map(|t| (number(graph, t.value), t.clone())));
                    downloads.extend(read.iter().cloned());
                }
            }
        }
        let y = graph.outputs().first().map(|(_, v)| *v);
        let result = downloads
            .into_iter()
            .find(|t| Some(t.value) == y)
            .ok_or("the plan has no result")?;
        Ok(Self {
            arena,
            buffers,
            roots,
            inputs,
            result,
            weights,
        })
    }

    fn place(&self, slot: Slot) -> Option<(Buffer, u64)> {
        self.buffers.get(self.roots.get(slot.0 as usize)?).cloned()
    }

    fn offset(&self, transfer: &Transfer) -> u64 {
        self.place(transfer.slot).map_or(0, |(_, at)| at)
    }

    /// Uploads the operands; in the place of the result nothing that could pass for it.
    fn fill(&self, gpu: &Gpu, work: &Work) -> Result<(), Failure> {
        for (number, to) in &self.inputs {
            let image = matches!(work, Work::Conv(_)) && *number == 0;
            let [pixels, channels] = planes(&to.shape);
            let order = |i| {
                if image {
                    turned([pixels, channels], i)
                } else {
                    i
                }
            };
            let tensor = data::tensor(to.dtype, *number, &to.shape, order)?;
            gpu.write(&self.arena, self.offset(to), &stored(&tensor, gpu)?)?;
        }
        Ok(gpu.write(
            &self.arena,
            self.offset(&self.result),
            &vec![0xff; self.result.bytes as usize],
        )?)
    }

    /// Elements of the result in the order of the protocol.
    fn read(&self, gpu: &Gpu, work: &Work, at: &[usize]) -> Result<Vec<f64>, Failure> {
        let (offset, bytes) = (self.offset(&self.result), self.result.bytes);
        let bytes = block_on(gpu.read(&self.arena, offset, bytes))?;
        let half = self.result.dtype == DType::F16 && gpu.caps().f16;
        let dtype = if half { DType::F16 } else { DType::F32 };
        let count: usize = self.result.shape.iter().product();
        let values =
            HostTensor::from_bytes(dtype, [count], &bytes[..count * dtype.size_bytes()])?.to_f64();
        let [pixels, channels] = planes(&self.result.shape);
        let image = matches!(work, Work::Conv(_));
        let order = |i| {
            if image {
                turned([channels, pixels], i)
            } else {
                i
            }
        };
        Ok(at.iter().map(|&i| values[order(i)]).collect())
    }

    fn memory(&self, plan: &Plan) -> Memory {
        let tensors = self.inputs.iter().map(|(_, t)| t.bytes).sum::<u64>() + self.result.bytes;
        Memory {
            arena: plan.arena,
            scratch: plan.arena.saturating_sub(tensors),
            weights: self.weights,
        }
    }
}

/// Pixels and channels of a channels-last image.
fn planes(shape: &[usize]) -> [usize; 2] {
    match *shape {
        [_, h, w, c] => [h * w, c],
        _ => [1, shape.iter().product()],
    }
}

/// Which of the inputs a value is.
fn number(graph: &Graph, value: Value) -> usize {
    graph
        .inputs()
        .iter()
        .position(|(_, v)| *v == value)
        .map_or(0, |at| {
            graph.inputs()[at]
                .0
                .trim_start_matches('x')
                .parse()
                .unwrap_or(at)
        })
}

/// The bytes of floats as the device keeps them, in whole words.
fn stored(tensor: &HostTensor, gpu: &Gpu) -> Result<Vec<u8>, Failure> {
    let mut bytes = match tensor.dtype() {
        DType::F16 if !gpu.caps().f16 => tensor.cast(DType::F32)?.bytes().to_vec(),
        _ => tensor.bytes().to_vec(),
    };
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_there_and_back_changes_nothing() {
        let (pixels, channels) = (6, 4);
        for at in 0..2 * pixels * channels {
            let first = turned([pixels, channels], at);
            assert_eq!(turned([channels, pixels], first), at);
        }
        // Channels last, pixel 1 of channel 2 is element 6; channels first it is 2 * 6 + 1.
        assert_eq!(turned([6, 4], 6), 13);
    }
}
