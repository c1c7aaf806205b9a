//! A plan on the device: its arena, its weights, its dispatches.

use crate::compiled::Compiled;
use crate::engine::Engine;
use crate::lower::SlotUse;
use crate::model::lock;
use crate::plan::PlanStage;
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use tilewright_device::{Buffer, BufferUse, Dispatch, Gpu, Replay, Slot};

/// What a plan has on the device.
pub(crate) struct OnDevice {
    /// The arena that the replays are bound to.
    pub(crate) arena: Buffer,
    /// One for each stage; none for host stages.
    pub(crate) replays: Vec<Option<Replay>>,
}

type Home = Mutex<Option<Arc<OnDevice>>>;

/// Where a plan is on the device: nowhere before it is placed, and again when its arena was outgrown by another plan.
#[derive(Default)]
pub(crate) struct Placed(Arc<Home>);

impl Placed {
    pub(crate) fn get(&self) -> Option<Arc<OnDevice>> {
        lock(&self.0).clone()
    }
}

/// The arena of one depth of control flow, and the plans that are bound to it.
#[derive(Default)]
pub(crate) struct Arena {
    buffer: Option<Buffer>,
    users: Vec<Weak<Home>>,
}

impl Arena {
    fn bytes(&self) -> u64 {
        self.buffer.as_ref().map_or(0, Buffer::bytes)
    }

    /// Gives the buffer back, also on behalf of the plans that are bound to it.
    fn clear(&mut self) {
        self.buffer = None;
        for user in self.users.drain(..).filter_map(|user| user.upgrade()) {
            *lock(&user) = None;
        }
    }

    fn add(&mut self, placed: &Placed, on_device: OnDevice) {
        self.users.retain(|user| user.strong_count() > 0);
        self.users.push(Arc::downgrade(&placed.0));
        *lock(&placed.0) = Some(Arc::new(on_device));
    }
}

impl Engine {
    /// Makes the arena large enough and puts the newest plan's dispatches on the device.
    pub(crate) async fn place(&mut self, compiled: &mut Compiled) -> Result<()> {
        self.place_with(compiled, |_, _| {}).await
    }

    /// [`Engine::place`]; `progress` as for [`Gpu::prepare_with`].
    pub(crate) async fn place_with(
        &mut self,
        compiled: &mut Compiled,
        progress: impl FnMut(usize, usize),
    ) -> Result<()> {
        let placed = self.try_place(compiled, progress).await;
        if placed.is_err() {
            // What it put on the device would stand in the way of a smaller one.
            compiled.bound.drain(..compiled.bound.len().min(1));
            self.model.sweep();
        }
        placed
    }

    async fn try_place(
        &mut self,
        compiled: &Compiled,
        progress: impl FnMut(usize, usize),
    ) -> Result<()> {
        let Some(gpu) = self.model.gpu().cloned() else {
            return Ok(());
        };
        let depths = self.arenas.len().max(self.depth + 1);
        self.arenas.resize_with(depths, Arena::default);
        let Some(newest) = compiled.bound.first() else {
            return Ok(());
        };
        if newest.placed.get().is_some() {
            return Ok(());
        }
        let plan = &newest.plan;
        // Weights before the arena: they are needed at any size, and an arena that leaves no room for them would stay.
        self.model.sweep();
        let mut weights = HashMap::new();
        for (slot, tensor) in plan.constants() {
            weights.insert(slot, self.model.weight(&gpu, tensor)?);
        }
        let arena = self.arena(&gpu, plan.arena.max(256), plan.lower_bound)?;
        let states = &self.states;
        let place = |slot: Slot| {
            let root = plan.root(slot);
            if let SlotUse::State(at) = plan.slots[root.0 as usize] {
                return states.buffer(at).map(|b| (b.clone(), 0));
            }
            Some(match weights.get(&root) {
                Some(buffer) => (buffer.clone(), 0),
                None => (arena.clone(), plan.offsets[root.0 as usize]),
            })
        };
        let lists: Vec<Vec<&Dispatch>> = plan.stages.iter().filter_map(dispatches).collect();
        let mut replays = gpu.bind_all(&lists, place, progress).await?.into_iter();
        let stages = plan.stages.iter();
        let replays = stages
            .map(|stage| dispatches(stage).and_then(|_| replays.next()))
            .collect();
        self.arenas[self.depth].add(&newest.placed, OnDevice { arena, replays });
        Ok(())
    }

    /// The arena at the present depth, of at least `need` bytes.
    fn arena(&mut self, gpu: &Gpu, need: u64, lower_bound: u64) -> Result<Buffer> {
        let limit = self.model.options().limits.memory;
        let others = self.arenas.iter().enumerate();
        let others = others.filter(|(depth, _)| *depth != self.depth);
        let others: u64 = others.map(|(_, arena)| arena.bytes()).sum();
        if need.saturating_add(others) > limit {
            return Err(Error::Limit {
                what: format!("an arena of {need} bytes"),
                limit,
            });
        }
        let own = &mut self.arenas[self.depth];
        (self.share).arena(self.depth, need.max(own.bytes()), lower_bound)?;
        if let Some(arena) = own.buffer.as_ref().filter(|a| a.bytes() >= need) {
            return Ok(arena.clone());
        }
        // Before the larger one is asked for.
        own.clear();
        let made = gpu.buffer(need, BufferUse::Storage);
        if made.is_err() {
            self.share.arena(self.depth, 0, 0)?;
        }
        Ok(own.buffer.insert(made?).clone())
    }
}

/// What a stage runs on the device; none for a stage on the host.
fn dispatches(stage: &PlanStage) -> Option<Vec<&Dispatch>> {
    match stage {
        PlanStage::Host(_) => None,
        PlanStage::Device { steps, .. } => Some(steps.iter().flat_map(|s| &s.dispatches).collect()),
    }
}
