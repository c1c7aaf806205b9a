//! What a model and its sessions hold on the device and on the host, and the limit on it.

use crate::lower::{is_stored, stored_bytes};
use crate::weight::WeightId;
use crate::{Error, Graph, Model, Result, Weight};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use tilewright_device::Buffer;
use tilewright_tensor::DType;

/// Bytes held for a model, by all its sessions or by one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Weights on the device, in the forms that plans read, tables of their operators included. All sessions share them.
    pub weights: u64,
    /// Constants in host memory: those of the model's graph, as it was given and after passes, and what was packed from them.
    /// Large ones with a source ([`crate::WeightSource`]) count while somebody has them loaded, and with what their source
    /// keeps (a part of the model's bytes; nothing for a file). All sessions share them.
    pub host_weights: u64,
    /// Activations on the device.
    pub arenas: u64,
    /// States on the device.
    pub states: u64,
    /// What the arenas have to hold at the least: the largest sum of tensors live at once, of the plans so far.
    pub lower_bound: u64,
}

impl MemoryStats {
    /// Bytes on the device.
    pub fn device(&self) -> u64 {
        [self.weights, self.arenas, self.states]
            .iter()
            .fold(0, |sum, part| sum.saturating_add(*part))
    }
}

/// The account of a model on a device.
#[derive(Default)]
pub(crate) struct Ledger {
    /// By data and type: kept while anybody has the constant.
    weights: HashMap<WeightKey, Uploaded>,
    sessions: HashMap<u64, Holding>,
    next: u64,
}

pub(crate) type WeightKey = (WeightId, DType);

/// Where the buffer of a weight is found. Locked while it is made, which others wait for.
pub(crate) type WeightPlace = Arc<Mutex<Option<Buffer>>>;

/// A weight's part of the account.
#[derive(Default)]
struct Uploaded {
    /// 0 until there is room for it.
    bytes: u64,
    place: WeightPlace,
}

/// What one session has.
#[derive(Default)]
struct Holding {
    /// By depth of control flow: bytes and lower bound.
    arenas: Vec<(u64, u64)>,
    states: u64,
}

impl Holding {
    fn stats(&self) -> MemoryStats {
        MemoryStats {
            arenas: self.arenas.iter().map(|(bytes, _)| bytes).sum(),
            lower_bound: self.arenas.iter().map(|(_, bound)| bound).sum(),
            states: self.states,
            ..MemoryStats::default()
        }
    }
}

impl Ledger {
    /// Where the buffer of a weight is found, or put by whoever needs it first.
    pub(crate) fn place(&mut self, key: &WeightKey) -> WeightPlace {
        self.weights.entry(key.clone()).or_default().place.clone()
    }

    /// Takes room for a weight that has a place and no buffer.
    pub(crate) fn take(&mut self, key: &WeightKey, bytes: u64, limit: Option<u64>) -> Result<()> {
        self.room("a weight", bytes, limit)?;
        self.count(key, bytes);
        Ok(())
    }

    /// Counts a weight as `bytes`: 0 where there is no buffer.
    pub(crate) fn count(&mut self, key: &WeightKey, bytes: u64) {
        if let Some(uploaded) = self.weights.get_mut(key) {
            uploaded.bytes = bytes;
        }
    }

    pub(crate) fn weight_bytes(&self) -> u64 {
        self.weights.values().map(|w| w.bytes).sum()
    }

    /// An error if there is no room for `bytes` more.
    fn room(&self, what: &str, bytes: u64, limit: Option<u64>) -> Result<()> {
        let (held, limit) = (self.stats(), limit.unwrap_or(u64::MAX));
        if held.device().saturating_add(bytes) <= limit {
            return Ok(());
        }
        let (w, a, s) = (held.weights, held.arenas, held.states);
        let beside = format!("weights of {w}, arenas of {a} and states of {s} bytes");
        let what = format!("{what} of {bytes} bytes beside {beside}");
        Err(Error::Limit { what, limit })
    }

    fn stats(&self) -> MemoryStats {
        let weights = self.weight_bytes();
        let start = MemoryStats {
            weights,
            ..MemoryStats::default()
        };
        (self.sessions.values().map(Holding::stats)).fold(start, |mut sum, s| {
            sum.arenas = sum.arenas.saturating_add(s.arenas);
            sum.states = sum.states.saturating_add(s.states);
            sum.lower_bound = sum.lower_bound.saturating_add(s.lower_bound);
            sum
        })
    }

    /// Frees the weights whose constants are gone.
    fn sweep(&mut self) {
        self.weights.retain(|(id, _), _| id.is_alive());
    }
}

impl Model {
    /// What the model holds, with all its sessions.
    pub fn memory_stats(&self) -> MemoryStats {
        self.sweep();
        let host_weights = self.host_weights();
        MemoryStats {
            host_weights,
            ..self.ledger().stats()
        }
    }

    /// Frees what belonged to plans and sessions that are gone.
    pub(crate) fn sweep(&self) {
        self.derived().sweep();
        self.ledger().sweep();
    }

    fn host_weights(&self) -> u64 {
        let after = self.compiled();
        let mut seen = HashSet::new();
        let mut sum = 0;
        let mut count = |weight: &Weight| {
            if seen.insert(weight.id()) {
                sum += weight.host_bytes();
            }
        };
        for graph in [Some(self.graph()), after.as_deref()].into_iter().flatten() {
            graph.each_weight(&mut count);
        }
        self.derived().weights().iter().for_each(&mut count);
        sum
    }
}

/// A session's part of the account, given back when it is dropped.
pub(crate) struct Share {
    model: Model,
    id: u64,
}

impl Share {
    /// Takes room for the states of `graph`.
    pub(crate) fn new(model: &Model, graph: &Graph) -> Result<Share> {
        let mut states = 0u64;
        if let Some(caps) = model.gpu().map(|gpu| gpu.caps()) {
            let held = graph.states().iter().map(|s| &s.initial);
            for t in held.filter(|t| is_stored(t.dtype())) {
                let bytes = stored_bytes(t.dtype(), t.shape(), caps);
                let bytes = bytes.max(1).next_multiple_of(16);
                states = states.saturating_add(bytes);
            }
        }
        let mut ledger = model.ledger();
        ledger.room("states", states, model.options().memory_limit)?;
        let id = ledger.next;
        ledger.next += 1;
        let arenas = vec![];
        ledger.sessions.insert(id, Holding { arenas, states });
        let model = model.clone();
        Ok(Share { model, id })
    }

    /// Takes room for the arena at `depth`, instead of the one that was there.
    pub(crate) fn arena(&self, depth: usize, bytes: u64, lower_bound: u64) -> Result<()> {
        let limit = self.model.options().memory_limit;
        let mut ledger = self.model.ledger();
        let arena = |ledger: &mut Ledger| {
            let arenas = &mut ledger.sessions.entry(self.id).or_default().arenas;
            arenas.resize(arenas.len().max(depth + 1), (0, 0));
            std::mem::take(&mut arenas[depth])
        };
        let old = arena(&mut ledger);
        let room = ledger.room("an arena", bytes, limit);
        let new = match room {
            Ok(()) => (bytes, lower_bound.max(old.1)),
            Err(_) => old,
        };
        if let Some(held) = ledger.sessions.get_mut(&self.id) {
            held.arenas[depth] = new;
        }
        room
    }

    /// What the session holds, and what it shares.
    pub(crate) fn stats(&self) -> MemoryStats {
        let shared = self.model.memory_stats();
        let own = self
            .model
            .ledger()
            .sessions
            .get(&self.id)
            .map(Holding::stats);
        MemoryStats {
            weights: shared.weights,
            host_weights: shared.host_weights,
            ..own.unwrap_or_default()
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.model.ledger().sessions.remove(&self.id);
        self.model.sweep();
    }
}
