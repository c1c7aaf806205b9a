//! A graph on an adapter: weights are uploaded once, on first use, and shared by all sessions.

use crate::convert::to_device;
use crate::lower::Derived;
use crate::{Error, Graph, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tilewright_device::{Buffer, BufferUse, Caps, Gpu};
use tilewright_tensor::{DType, HostTensor};

/// What to do with nodes that have no device form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// Run them on the host; the coverage lists them.
    #[default]
    Allow,
    /// An error that names the node.
    Deny,
}

/// Bounds on what a model may ask for. Passing one is an [`Error::Limit`] that says which.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RunLimits {
    /// Bytes of activations: of the arena of one plan, and of values that live at once on the host.
    pub memory: u64,
    /// Iterations of one loop.
    pub loop_iterations: u64,
    /// Steps of one node on the host, as [`crate::Operator::work`] estimates them.
    pub work: u64,
    /// Time of one run. It is looked at between nodes and submissions.
    pub wall_time: Duration,
}

impl Default for RunLimits {
    /// 8 GiB, ten million iterations, 2^44 steps, and all the time there is.
    fn default() -> Self {
        RunLimits {
            memory: 8 << 30,
            loop_iterations: 10_000_000,
            work: 1 << 44,
            wall_time: Duration::MAX,
        }
    }
}

impl RunLimits {
    /// For models of unknown origin: 2 GiB, a million iterations, 2^36 steps (minutes), ten minutes.
    pub fn strict() -> RunLimits {
        RunLimits {
            memory: 2 << 30,
            loop_iterations: 1_000_000,
            work: 1 << 36,
            wall_time: Duration::from_secs(600),
        }
    }
}

/// How to run a model.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ModelOptions {
    /// See [`Fallback`].
    pub fallback: Fallback,
    /// See [`RunLimits`].
    pub limits: RunLimits,
}

/// A graph with its weights on a device, or on the host. Cheap to clone; sessions share it.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    graph: Graph,
    gpu: Option<Gpu>,
    options: ModelOptions,
    derived: Mutex<Derived>,
    /// By storage and type. The tensor keeps its storage, and thereby the key, from being reused.
    weights: Mutex<HashMap<(usize, DType), (Buffer, HostTensor)>>,
}

impl Model {
    /// The graph on a device.
    pub fn new(graph: Graph, gpu: &Gpu, options: ModelOptions) -> Model {
        Model::with(graph, Some(gpu.clone()), options)
    }

    /// The graph on the host: every node runs by its reference.
    pub fn host(graph: Graph, options: ModelOptions) -> Model {
        Model::with(graph, None, options)
    }

    fn with(graph: Graph, gpu: Option<Gpu>, options: ModelOptions) -> Model {
        let (derived, weights) = Default::default();
        Model(Arc::new(Inner {
            graph,
            gpu,
            options,
            derived,
            weights,
        }))
    }

    /// The graph as it was given.
    pub fn graph(&self) -> &Graph {
        &self.0.graph
    }

    /// The device, unless the model runs on the host.
    pub fn gpu(&self) -> Option<&Gpu> {
        self.0.gpu.as_ref()
    }

    /// The adapter's capabilities, unless the model runs on the host.
    pub fn caps(&self) -> Option<&Caps> {
        self.0.gpu.as_ref().map(Gpu::caps)
    }

    /// How it runs.
    pub fn options(&self) -> &ModelOptions {
        &self.0.options
    }

    /// Bytes of weights on the device.
    pub fn weight_bytes(&self) -> u64 {
        lock(&self.0.weights).values().map(|(b, _)| b.bytes()).sum()
    }

    pub(crate) fn derived(&self) -> MutexGuard<'_, Derived> {
        lock(&self.0.derived)
    }

    /// The buffer of a constant, uploaded now if it is new.
    pub(crate) fn weight(&self, gpu: &Gpu, tensor: &HostTensor) -> Result<Buffer> {
        let key = (tensor.storage_id(), tensor.dtype());
        if let Some((buffer, _)) = lock(&self.0.weights).get(&key) {
            return Ok(buffer.clone());
        }
        let bytes = to_device(tensor, "constant")?;
        let limit = gpu.caps().limits.binding_bytes;
        if bytes.len() as u64 > limit {
            let what = format!("a constant of {} bytes", bytes.len());
            return Err(Error::Limit { what, limit });
        }
        // Room for a vec4 at the end: kernels read whole ones.
        let buffer = gpu.buffer(
            (bytes.len() as u64).max(1).next_multiple_of(16),
            BufferUse::Storage,
        )?;
        for (i, chunk) in bytes.chunks(UPLOAD_CHUNK).enumerate() {
            gpu.write(&buffer, (i * UPLOAD_CHUNK) as u64, chunk)?;
        }
        lock(&self.0.weights).insert(key, (buffer.clone(), tensor.clone()));
        Ok(buffer)
    }
}

/// Large uploads go in pieces, so that the queue's staging memory stays small.
const UPLOAD_CHUNK: usize = 32 << 20;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("nodes", &self.graph().len())
            .finish_non_exhaustive()
    }
}
