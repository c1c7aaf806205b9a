//! A graph on an adapter: weights are uploaded once, on first use, and shared by all sessions.

use crate::compiled::Compiled;
use crate::convert::to_device;
use crate::derived::Derived;
use crate::lower::stored_bytes;
use crate::memory_stats::Ledger;
use crate::selftest::Wrong;
use crate::stage::Schedule;
use crate::{Error, Graph, Result, Weight};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tilewright_device::{Buffer, BufferUse, Caps, Gpu, Variant};
use tilewright_kernels::Choices;

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

/// Whether kernels are tested on the device before they are used ([`crate::selftest`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SelfTest {
    /// They are trusted.
    #[default]
    Off,
    /// Before the first run of each plan its variants are tested, those of all sessions of the model once. Loops that are wrong
    /// are not used any more ([`Model::quarantined`]); what is wrong and has no other form is an [`Error::SelfTest`].
    Quick,
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
    /// Time of one run. It is looked at between nodes on the host, turns of loops and submissions, of which a stage on a
    /// software adapter is one by default ([`tilewright_device::Budget`]).
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
    /// No bounds but those of the device and of this machine: for models of known origin.
    pub fn none() -> RunLimits {
        RunLimits {
            memory: u64::MAX,
            loop_iterations: u64::MAX,
            work: u64::MAX,
            wall_time: Duration::MAX,
        }
    }

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
    /// Bytes on the device that the model and all its sessions may hold together: weights, arenas and states. What would
    /// pass it is an [`Error::Limit`] that says what was asked for, and leaves the session and the model as they were.
    pub memory_limit: Option<u64>,
    /// See [`SelfTest`].
    pub self_test: SelfTest,
}

/// A graph with its weights on a device, or on the host. Cheap to clone; sessions share it.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    graph: Arc<Graph>,
    gpu: Option<Gpu>,
    options: ModelOptions,
    /// The graph after passes and its schedule, made by the first session.
    compiled: OnceLock<(Arc<Graph>, Arc<Schedule>)>,
    /// Held while it is made, which asks sources of weights.
    compiling: Mutex<()>,
    derived: Derived,
    ledger: Mutex<Ledger>,
    choices: Mutex<Arc<Choices>>,
    tested: Mutex<Tested>,
}

/// What self-tests found on the device.
#[derive(Default)]
struct Tested {
    right: HashSet<Variant>,
    wrong: Vec<Wrong>,
}

impl Model {
    /// The graph on a device.
    pub fn new(graph: Graph, gpu: &Gpu, options: ModelOptions) -> Model {
        Model::with_choices(graph, gpu, options, Choices::new())
    }

    /// [`Model::new`] with other loops than the default ones: those that were tuned ([`crate::tune::Tuner`],
    /// [`tilewright_kernels::Tuning`]) for this adapter, without those that were found wrong.
    pub fn with_choices(graph: Graph, gpu: &Gpu, options: ModelOptions, choices: Choices) -> Model {
        Model::with(Arc::new(graph), Some(gpu.clone()), options, choices)
    }

    /// The graph on the host: every node runs by its reference.
    pub fn host(graph: Graph, options: ModelOptions) -> Model {
        Model::with(Arc::new(graph), None, options, Choices::new())
    }

    /// The same graph with the same options on another device, for instance after a device was lost. Weights are uploaded
    /// again when sessions of the new model use them, and loaded from their [`crate::WeightSource`] for that; nothing is asked
    /// of the old device.
    ///
    /// Choices of loops are kept where adapter and driver are the same; on others they would say nothing.
    ///
    /// Sessions belong to their device: make new ones. States begin at their initial values and return through
    /// [`crate::Session::set_state`]; those of a lost device can no longer be read, so keep copies of what must survive.
    pub fn on(&self, gpu: &Gpu) -> Model {
        let same = |old: &Gpu| {
            let (old, new) = (old.info(), gpu.info());
            old.key == new.key && old.driver == new.driver
        };
        let choices = match self.gpu().is_some_and(same) {
            true => Choices::clone(&self.choices()),
            false => Choices::new(),
        };
        Model::with(
            self.0.graph.clone(),
            Some(gpu.clone()),
            self.0.options,
            choices,
        )
    }

    fn with(graph: Arc<Graph>, gpu: Option<Gpu>, options: ModelOptions, choices: Choices) -> Model {
        let (compiled, compiling, derived, ledger, tested) = Default::default();
        Model(Arc::new(Inner {
            graph,
            gpu,
            options,
            compiled,
            compiling,
            derived,
            ledger,
            choices: Mutex::new(Arc::new(choices)),
            tested,
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

    /// The loops that products get from now on.
    pub fn choices(&self) -> Arc<Choices> {
        lock(&self.0.choices).clone()
    }

    /// What self-tests of this model found wrong on the device, and which loops are not used any more for that.
    pub fn quarantined(&self) -> Vec<Wrong> {
        lock(&self.0.tested).wrong.clone()
    }

    /// Uses the loops that are wrong no more; true where that is news.
    pub(crate) fn quarantine(&self, wrong: &[Wrong]) -> bool {
        lock(&self.0.tested).wrong.extend(wrong.iter().cloned());
        let mut place = lock(&self.0.choices);
        let mut choices = Choices::clone(&place);
        for (class, of) in wrong.iter().flat_map(|w| &w.quarantined) {
            choices.quarantine(class, *of);
        }
        let news = choices != **place;
        *place = Arc::new(choices);
        news
    }

    /// The variants that are known to be right on the device.
    pub(crate) fn right(&self) -> HashSet<Variant> {
        lock(&self.0.tested).right.clone()
    }

    pub(crate) fn know(&self, right: HashSet<Variant>) {
        lock(&self.0.tested).right.extend(right);
    }

    /// Bytes of weights on the device.
    pub fn weight_bytes(&self) -> u64 {
        self.ledger().weight_bytes()
    }

    pub(crate) fn derived(&self) -> &Derived {
        &self.0.derived
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.0.ledger)
    }

    /// The graph after passes, without plans; all sessions have the same.
    pub(crate) fn root(&self) -> Result<Compiled> {
        Compiled::of(self.parts()?, self)
    }

    /// What [`Model::root`] is made of.
    fn parts(&self) -> Result<(Arc<Graph>, Arc<Schedule>)> {
        let made = || self.0.compiled.get().cloned();
        if let Some(parts) = made() {
            return Ok(parts);
        }
        let _compiling = lock(&self.0.compiling);
        if let Some(parts) = made() {
            return Ok(parts);
        }
        let parts = Compiled::parts(self.graph(), self)?;
        Ok(self.0.compiled.get_or_init(|| parts).clone())
    }

    /// The graph after passes, once a session made it.
    pub(crate) fn compiled(&self) -> Option<Arc<Graph>> {
        Some(self.0.compiled.get()?.0.clone())
    }

    /// The buffer of a constant, uploaded now if it is new. What was in host memory only for this is dropped.
    pub(crate) fn weight(&self, gpu: &Gpu, weight: &Weight) -> Result<Buffer> {
        let key = (weight.id(), weight.dtype());
        let place = self.ledger().place(&key);
        // A source may be a callback that asks the model something: the account is not locked while it runs.
        let mut place = lock(&place);
        if let Some(buffer) = &*place {
            return Ok(buffer.clone());
        }
        // Room for a vec4 at the end: kernels read whole ones.
        let size = stored_bytes(weight.dtype(), weight.shape(), gpu.caps());
        let size = size.max(1).next_multiple_of(16);
        let limit = self.options().memory_limit;
        self.ledger().take(&key, size, limit)?;
        let made = upload(gpu, weight, size);
        self.ledger()
            .count(&key, made.as_ref().map_or(0, Buffer::bytes));
        let buffer = place.insert(made?).clone();
        weight.forget();
        Ok(buffer)
    }
}

/// A buffer of at least `size` bytes with the data of a constant.
fn upload(gpu: &Gpu, weight: &Weight, size: u64) -> Result<Buffer> {
    let tensor = weight.load()?;
    let bytes = to_device(&tensor, "constant", gpu.caps())?;
    let limit = gpu.caps().limits.binding_bytes;
    if bytes.len() as u64 > limit {
        let what = format!("a constant of {} bytes", bytes.len());
        return Err(Error::Limit { what, limit });
    }
    let buffer = gpu.buffer(size.max(bytes.len() as u64), BufferUse::Storage)?;
    gpu.write(&buffer, 0, &bytes)?;
    Ok(buffer)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("nodes", &self.graph().len())
            .finish_non_exhaustive()
    }
}
