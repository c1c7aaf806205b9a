//! A plan: everything a run does, for one set of sizes, as plain data. Made without a GPU.

use crate::lower::SlotUse;
use crate::{Value, Weight};
use std::fmt;
use tilewright_device::{Dispatch, Slot};
use tilewright_kernels::Chosen;
use tilewright_tensor::{DType, HostTensor};

/// The dispatches of one node.
#[derive(Clone, Debug)]
pub struct Step {
    /// The node.
    pub node: u32,
    /// What it dispatches, in order.
    pub dispatches: Vec<Dispatch>,
    /// The loops of its products, in order.
    pub chosen: Vec<Chosen>,
}

/// A tensor that crosses between host and device.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The value.
    pub value: Value,
    /// Its place on the device.
    pub slot: Slot,
    /// Its type in the graph.
    pub dtype: DType,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Bytes of its words on the device.
    pub bytes: u64,
}

impl Transfer {
    /// True for a tensor without elements: nothing is copied.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }
}

/// A stage with everything it needs.
#[derive(Clone, Debug)]
pub enum PlanStage {
    /// One submission: copies to the device, dispatches, copies back.
    Device {
        /// What the host must have written before.
        uploads: Vec<Transfer>,
        /// The nodes, in order.
        steps: Vec<Step>,
        /// What is read back after.
        downloads: Vec<Transfer>,
    },
    /// A node on the host.
    Host(u32),
}

/// A graph bound to sizes: slots with their places, and stages.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What each slot is.
    pub slots: Vec<SlotUse>,
    /// Byte offset of each arena slot (0 for the others).
    pub offsets: Vec<u64>,
    /// Bytes of the arena.
    pub arena: u64,
    /// The largest sum of tensor sizes that are live at once, in bytes: no arena can be smaller.
    pub lower_bound: u64,
    /// What runs, in order.
    pub stages: Vec<PlanStage>,
    /// Values that are sizes, known once bound: they are fed like inputs.
    pub sizes: Vec<(Value, HostTensor)>,
    /// States that the host reads before the run: value and index.
    pub reads: Vec<(Value, usize)>,
    /// States that change after the run.
    pub commits: Vec<Commit>,
}

/// A state's next value.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Index of the state.
    pub state: usize,
    /// The value it takes.
    pub value: Value,
    /// Where the value lies in the arena; none if the host has it.
    pub slot: Option<Slot>,
}

pub(crate) fn resolve(slots: &[SlotUse], slot: Slot) -> Slot {
    let mut at = slot;
    while let SlotUse::Alias(next) = slots[at.0 as usize] {
        at = next;
    }
    at
}

impl Plan {
    /// The slot that `slot` is another name for, or itself.
    pub fn root(&self, slot: Slot) -> Slot {
        resolve(&self.slots, slot)
    }

    /// The constants that dispatches read, by slot.
    pub fn constants(&self) -> impl Iterator<Item = (Slot, &Weight)> {
        let mut roots: Vec<Slot> = self
            .dispatches()
            .flat_map(|d| &d.spans)
            .map(|(_, s)| self.root(s.slot))
            .collect();
        roots.sort();
        roots.dedup();
        roots
            .into_iter()
            .filter_map(|slot| match &self.slots[slot.0 as usize] {
                SlotUse::Constant(t) => Some((slot, t)),
                _ => None,
            })
    }

    /// The nodes that dispatch, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flat_map(|stage| match stage {
            PlanStage::Device { steps, .. } => &steps[..],
            PlanStage::Host(_) => &[],
        })
    }

    /// All dispatches in order.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.steps().flat_map(|step| &step.dispatches)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "arena {} bytes, lifetimes need {}",
            self.arena, self.lower_bound
        )?;
        let place = |slot: Slot| match &self.slots[self.root(slot).0 as usize] {
            SlotUse::Constant(t) => format!("constant {}{:?}", t.dtype(), &t.shape()[..]),
            _ => format!("{}", self.offsets[self.root(slot).0 as usize]),
        };
        for stage in &self.stages {
            match stage {
                PlanStage::Host(node) => writeln!(f, "host %{node}")?,
                PlanStage::Device {
                    uploads,
                    steps,
                    downloads,
                } => {
                    for t in uploads {
                        writeln!(
                            f,
                            "write {} {}{:?} -> {}",
                            t.value,
                            t.dtype,
                            t.shape,
                            place(t.slot)
                        )?;
                    }
                    for step in steps {
                        for d in &step.dispatches {
                            writeln!(f, "%{}: {d}", step.node)?;
                            for (name, span) in &d.spans {
                                writeln!(f, "    {name} = {} +{}", place(span.slot), span.bytes)?;
                            }
                        }
                    }
                    for t in downloads {
                        writeln!(
                            f,
                            "read {} {}{:?} <- {}",
                            t.value,
                            t.dtype,
                            t.shape,
                            place(t.slot)
                        )?;
                    }
                }
            }
        }
        Ok(())
    }
}
