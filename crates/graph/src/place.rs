//! A plan on the device: its arena, its weights, its dispatches.

use crate::compiled::Compiled;
use crate::engine::Engine;
use crate::lower::SlotUse;
use crate::plan::PlanStage;
use crate::{Error, Result};
use std::collections::HashMap;
use tilewright_device::{Buffer, BufferUse, Dispatch, Gpu, Slot};

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
        compiled: &mut Compiled,
        progress: impl FnMut(usize, usize),
    ) -> Result<()> {
        let Some(gpu) = self.model.gpu().cloned() else {
            return Ok(());
        };
        self.arenas
            .resize(self.arenas.len().max(self.depth + 1), None);
        let Some(newest) = compiled.bound.first() else {
            return Ok(());
        };
        let own = &self.arenas[self.depth];
        let need = newest.plan.arena.max(256);
        if newest.arena.is_some()
            && newest.arena == *own
            && own.as_ref().is_some_and(|a| a.bytes() >= need)
        {
            let arena = own.clone();
            compiled.release(arena.as_ref());
            return Ok(());
        }
        // Weights before the arena: they are needed at any size, and an arena that leaves no room for them would stay.
        self.model.sweep();
        let mut weights = HashMap::new();
        for (slot, tensor) in newest.plan.constants() {
            weights.insert(slot, self.model.weight(&gpu, tensor)?);
        }
        let arena = self.arena(compiled, &gpu, need)?;
        compiled.release(Some(&arena));
        let Some(bound) = compiled.bound.first_mut() else {
            return Ok(());
        };
        let (plan, states) = (&bound.plan, &self.states);
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
        bound.replays = stages
            .map(|stage| dispatches(stage).and_then(|_| replays.next()))
            .collect();
        bound.arena = Some(arena.clone());
        Ok(())
    }

    /// The arena at the present depth, of at least `need` bytes.
    fn arena(&mut self, compiled: &mut Compiled, gpu: &Gpu, need: u64) -> Result<Buffer> {
        let bytes = |a: &Option<Buffer>| a.as_ref().map_or(0, Buffer::bytes);
        let limit = self.model.options().limits.memory;
        let others = self.arenas.iter().enumerate();
        let others = others.filter(|(depth, _)| *depth != self.depth);
        let others: u64 = others.map(|(_, a)| bytes(a)).sum();
        if need.saturating_add(others) > limit {
            return Err(Error::Limit {
                what: format!("an arena of {need} bytes"),
                limit,
            });
        }
        let bound = compiled.bound.first().map_or(0, |b| b.plan.lower_bound);
        let own = &mut self.arenas[self.depth];
        (self.share).arena(self.depth, need.max(bytes(own)), bound)?;
        if let Some(arena) = own.as_ref().filter(|a| a.bytes() >= need) {
            return Ok(arena.clone());
        }
        // Given back before the larger one is asked for, also by plans that are bound to it.
        *own = None;
        compiled.release(None);
        let made = gpu.buffer(need, BufferUse::Storage);
        if made.is_err() {
            self.share.arena(self.depth, 0, 0)?;
        }
        Ok(own.insert(made?).clone())
    }
}

/// What a stage runs on the device; none for a stage on the host.
fn dispatches(stage: &PlanStage) -> Option<Vec<&Dispatch>> {
    match stage {
        PlanStage::Host(_) => None,
        PlanStage::Device { steps, .. } => Some(steps.iter().flat_map(|s| &s.dispatches).collect()),
    }
}
