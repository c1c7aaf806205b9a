//! Binding a graph to sizes: nodes are lowered with plain numbers, and their tensors placed.

use crate::blocks;
use crate::derived::Derived;
use crate::distinct::separate;
use crate::lower::{Lower, Place, SlotUse, storage, stored_bytes};
use crate::memory::{self, Lifetime};
use crate::stage::{Schedule, Stage};
use crate::weight::WeightId;
use crate::{Bindings, Error, Fact, Graph, Op, Result, Value};
use std::collections::{HashMap, HashSet};
use tilewright_device::{Caps, Dispatch, Slot};
use tilewright_kernels::{Choices, Outlook, View};
use tilewright_tensor::DType;

use crate::plan::{Commit, Plan, PlanStage, Step, Transfer, resolve};

/// Makes the plan of `graph` under `bindings`, with the default loops.
pub fn bind(
    graph: &Graph,
    schedule: &Schedule,
    bindings: &Bindings,
    caps: &Caps,
    derived: &Derived,
) -> Result<Plan> {
    bind_with(graph, schedule, bindings, (caps, &Choices::new()), derived)
}

/// [`bind`], with the loops that `choices` say.
pub fn bind_with(
    graph: &Graph,
    schedule: &Schedule,
    bindings: &Bindings,
    (caps, choices): (&Caps, &Choices),
    derived: &Derived,
) -> Result<Plan> {
    let mut binder = Binder::new(graph, schedule, bindings, (caps, choices), derived);
    for stage in &schedule.stages {
        match stage {
            Stage::Host(node) => binder.plan.stages.push(PlanStage::Host(*node)),
            Stage::Device(nodes) => binder.device(nodes)?,
        }
    }
    binder.finish()
}

/// Nodes on the device whose shaders compile before anybody waits.
const FEW: usize = 16;

/// What kernels may know of the whole graph.
fn outlook(graph: &Graph, schedule: &Schedule) -> Outlook {
    let on_device = schedule.places.iter().flatten();
    let on_device = on_device.filter(|place| matches!(place, Place::Device));
    Outlook {
        // Sizes of what comes late depend on data.
        fixed: graph.symbols().is_empty() && schedule.late.is_none(),
        few: on_device.count() <= FEW,
    }
}

struct Binder<'a> {
    graph: &'a Graph,
    schedule: &'a Schedule,
    bindings: &'a Bindings,
    caps: &'a Caps,
    choices: &'a Choices,
    outlook: Outlook,
    derived: &'a Derived,
    plan: Plan,
    /// Device place of values.
    places: HashMap<Value, Slot>,
    constants: HashMap<(WeightId, DType), Slot>,
    /// Values that somebody reads; others get no place.
    used: HashSet<Value>,
    /// Values that the host reads.
    wanted: HashSet<Value>,
    /// Lifetime of each slot (by root), in steps.
    lives: Vec<Option<(u32, u32)>>,
    step: u32,
}

impl<'a> Binder<'a> {
    fn new(
        graph: &'a Graph,
        schedule: &'a Schedule,
        bindings: &'a Bindings,
        (caps, choices): (&'a Caps, &'a Choices),
        derived: &'a Derived,
    ) -> Binder<'a> {
        let live = graph.live();
        let used = graph.read();
        let mut wanted: HashSet<Value> = graph.outputs().iter().map(|(_, v)| *v).collect();
        for (i, node) in graph.nodes().iter().enumerate().filter(|(i, _)| live[*i]) {
            if matches!(schedule.places[i], Some(Place::Host(_))) {
                wanted.extend(node.inputs.iter().flatten());
            }
        }
        for next in graph.states().iter().filter_map(|s| s.next) {
            // An alias of a state must be read before states change. What comes late runs in the same arena, and states change
            // after it.
            let alias = matches!(schedule.places[next.node as usize], Some(Place::Alias));
            if alias || schedule.late.is_some() {
                wanted.insert(next);
            }
        }
        if let Some(late) = &schedule.late {
            wanted.extend(&late.takes);
            for &i in &late.compute {
                wanted.extend(graph.nodes()[i as usize].inputs.iter().flatten());
            }
        }
        let (plan, places, constants, lives) = Default::default();
        Binder {
            graph,
            schedule,
            bindings,
            caps,
            choices,
            outlook: outlook(graph, schedule),
            derived,
            plan,
            places,
            constants,
            used,
            wanted,
            lives,
            step: 0,
        }
    }

    fn device(&mut self, nodes: &[u32]) -> Result<()> {
        let (mut uploads, mut steps, mut downloads) = (vec![], vec![], vec![]);
        let start = self.step;
        for &i in nodes {
            let node = &self.graph.nodes()[i as usize];
            let step = self
                .node(i, start, &mut uploads)
                .map_err(|e| e.at(&node.name, node.op.name()))?;
            if !step.dispatches.is_empty() {
                steps.push(step);
            }
            self.step += 1;
        }
        for &i in nodes {
            for output in 0..self.graph.nodes()[i as usize].outputs.len() as u32 {
                let value = Value { node: i, output };
                if let (true, Some(&slot)) = (self.wanted.contains(&value), self.places.get(&value))
                {
                    self.touch(slot, self.step);
                    downloads.push(self.transfer(value, slot)?);
                }
            }
        }
        self.step += 1;
        self.plan.stages.push(PlanStage::Device {
            uploads,
            steps,
            downloads,
        });
        Ok(())
    }

    fn node(&mut self, index: u32, start: u32, uploads: &mut Vec<Transfer>) -> Result<Step> {
        let node = &self.graph.nodes()[index as usize];
        let (given, facts) = self.check(index)?;
        let step = |dispatches, chosen| Step {
            node: index,
            dispatches,
            chosen,
        };
        if matches!(self.schedule.places[index as usize], Some(Place::Alias)) {
            self.alias(index, start, uploads)?;
            return Ok(step(vec![], vec![]));
        }
        let mut inputs = vec![];
        for v in &node.inputs {
            inputs.push(match v {
                None => None,
                Some(v) => {
                    let slot = self.operand(*v, start, uploads)?;
                    self.touch(slot, self.step);
                    Some(self.view(*v, slot)?)
                }
            });
        }
        let outputs = self.outputs(index, &facts)?;
        // Nothing to compute, and no kernel has to think of it.
        let empty = |(view, _): &(View, DType)| view.shape.contains(&0);
        if outputs.iter().flatten().all(empty) {
            return Ok(step(vec![], vec![]));
        }
        // Values that were symbolic are plain now.
        let constants = (given.iter())
            .map(|fact| fact.as_ref()?.weight().cloned())
            .collect();
        let first_scratch = self.plan.slots.len();
        let mut cx = Lower {
            epilogue: None,
            op: node.op.name(),
            caps: self.caps,
            choices: self.choices,
            outlook: self.outlook,
            chosen: Default::default(),
            inputs,
            constants,
            outputs,
            slots: &mut self.plan.slots,
            derived: self.derived,
            emitted: vec![],
            held: vec![],
            spare: vec![],
        };
        blocks::lower(&node.op, &given, &facts, &mut cx)?;
        let (chosen, emitted) = (cx.chosen.into_inner(), cx.emitted);
        self.check_bindings(index, &facts, &emitted)?;
        let dispatches = separate(emitted, &mut self.plan.slots, resolve, self.caps)?;
        self.lives.resize(self.plan.slots.len(), None);
        for slot in first_scratch..self.plan.slots.len() {
            self.touch(Slot(slot as u32), self.step);
        }
        Ok(step(dispatches, chosen))
    }

    /// The node's output is another name for its input.
    fn alias(&mut self, index: u32, start: u32, uploads: &mut Vec<Transfer>) -> Result<()> {
        let node = &self.graph.nodes()[index as usize];
        let value = node.inputs.first().copied().flatten();
        let value = value.ok_or_else(|| Error::Graph("an alias of nothing".into()))?;
        let slot = self.operand(value, start, uploads)?;
        let alias = self.slot(SlotUse::Alias(slot));
        let made = Value {
            node: index,
            output: 0,
        };
        self.places.insert(made, alias);
        self.touch(alias, self.step);
        Ok(())
    }

    /// Places for those of the node's outputs that somebody reads.
    fn outputs(&mut self, index: u32, facts: &[Fact]) -> Result<Vec<Option<(View, DType)>>> {
        let mut outputs = vec![];
        for (output, fact) in facts.iter().enumerate() {
            let value = Value {
                node: index,
                output: output as u32,
            };
            if !self.used.contains(&value) {
                outputs.push(None);
                continue;
            }
            let (view, dtype) = self.new_view(fact)?;
            self.places.insert(value, view.span.slot);
            self.touch(view.span.slot, self.step);
            outputs.push(Some((view, dtype)));
        }
        Ok(outputs)
    }

    /// Plain facts of the node's inputs, and of its outputs, inferred again from these: what symbols left open is checked
    /// here.
    fn check(&self, index: u32) -> Result<(Vec<Option<Fact>>, Vec<Fact>)> {
        let node = &self.graph.nodes()[index as usize];
        let mut facts = vec![];
        for v in &node.inputs {
            facts.push(
                v.map(|v| self.graph.need_fact(v)?.at(self.bindings))
                    .transpose()?,
            );
        }
        let inferred = node
            .op
            .infer(&facts.iter().map(Option::as_ref).collect::<Vec<_>>())?;
        for (i, (new, old)) in inferred.iter().zip(&node.outputs).enumerate() {
            let old = old
                .as_ref()
                .ok_or_else(|| Error::Graph("a late node was scheduled".into()))?
                .bind(self.bindings)?;
            let new = new.bind(self.bindings)?;
            if new != old {
                return Err(Error::op(
                    node.op.name(),
                    format!("output {i} is {new:?} where {old:?} was planned"),
                ));
            }
        }
        Ok((facts, inferred))
    }

    /// The place of a value that a device node reads.
    fn operand(&mut self, value: Value, start: u32, uploads: &mut Vec<Transfer>) -> Result<Slot> {
        if let Some(&slot) = self.places.get(&value) {
            return Ok(slot);
        }
        if let Op::Constant(c) = &self.graph.node(value).op {
            let key = (c.tensor.id(), c.tensor.dtype());
            if let Some(&slot) = self.constants.get(&key) {
                return Ok(slot);
            }
            let slot = self.slot(SlotUse::Constant(c.tensor.clone()));
            self.constants.insert(key, slot);
            return Ok(slot);
        }
        if let Some(at) = self.graph.states().iter().position(|s| s.read == value) {
            let slot = self.slot(SlotUse::State(at));
            self.places.insert(value, slot);
            return Ok(slot);
        }
        let fact = self.graph.need_fact(value)?;
        let sized = Fact::sized(fact.dtype, &fact.bind(self.bindings)?);
        let (view, _) = self.new_view(&sized)?;
        let slot = view.span.slot;
        self.places.insert(value, slot);
        self.wanted.insert(value);
        self.touch(slot, start);
        uploads.push(self.transfer(value, slot)?);
        Ok(slot)
    }

    /// An error where a dispatch of the node binds more than the adapter allows.
    fn check_bindings(&self, index: u32, made: &[Fact], emitted: &[Dispatch]) -> Result<()> {
        let limit = self.caps.limits.binding_bytes;
        let spans = emitted.iter().flat_map(|d| &d.spans);
        let Some((_, span)) = spans.into_iter().find(|(_, span)| span.bytes > limit) else {
            return Ok(());
        };
        let (root, bytes) = (self.plan.root(span.slot), span.bytes);
        let is = |v: &Value| (self.places.get(v)).is_some_and(|slot| self.plan.root(*slot) == root);
        let node = &self.graph.nodes()[index as usize];
        let outputs = (0..).zip(made).map(|(output, fact)| {
            let (node, fact) = (index, fact.clone());
            (Value { node, output }, format!("output {output}"), fact)
        });
        let mut inputs = vec![];
        for &v in node.inputs.iter().flatten() {
            let source = self.graph.node(v);
            let name = match source.op {
                Op::Input(_) => format!("input `{}`", source.name),
                _ => format!("output {} of `{}`", v.output, source.name),
            };
            inputs.push((v, name, self.graph.need_fact(v)?.at(self.bindings)?));
        }
        let found = inputs.into_iter().chain(outputs).find(|(v, ..)| is(v));
        let what = match found {
            Some((_, name, fact)) => {
                format!("{name} as one binding of the adapter, {bytes} bytes ({fact}),")
            }
            None if matches!(self.plan.slots[root.0 as usize], SlotUse::Constant(_)) => {
                format!("a constant as one binding of the adapter, {bytes} bytes,")
            }
            None => format!("{bytes} bytes of scratch"),
        };
        Err(Error::Limit { what, limit })
    }

    fn view(&self, value: Value, slot: Slot) -> Result<(View, DType)> {
        let fact = self.graph.need_fact(value)?;
        let store = storage(fact.dtype, self.caps).ok_or(Error::Storage(fact.dtype))?;
        Ok((
            View::new(slot, store, fact.bind(self.bindings)?),
            fact.dtype,
        ))
    }

    /// A new arena slot for a tensor.
    fn new_view(&mut self, fact: &Fact) -> Result<(View, DType)> {
        let store = storage(fact.dtype, self.caps).ok_or(Error::Storage(fact.dtype))?;
        let shape = fact.bind(self.bindings)?;
        let bytes = stored_bytes(fact.dtype, &shape, self.caps);
        let slot = self.slot(SlotUse::Arena { bytes });
        Ok((View::new(slot, store, shape), fact.dtype))
    }

    fn slot(&mut self, slot: SlotUse) -> Slot {
        self.plan.slots.push(slot);
        self.lives.push(None);
        Slot((self.plan.slots.len() - 1) as u32)
    }

    fn touch(&mut self, slot: Slot, step: u32) {
        let root = self.plan.root(slot).0 as usize;
        let life = self.lives[root].get_or_insert((step, step));
        life.1 = life.1.max(step);
    }

    fn transfer(&self, value: Value, slot: Slot) -> Result<Transfer> {
        let fact = self.graph.need_fact(value)?;
        let (dtype, shape) = (fact.dtype, fact.bind(self.bindings)?);
        Ok(Transfer {
            value,
            slot,
            dtype,
            bytes: stored_bytes(dtype, &shape, self.caps),
            shape,
        })
    }

    /// States that the host needs, and what becomes of each.
    fn states(&mut self) {
        for (at, state) in self.graph.states().iter().enumerate() {
            let moved = self
                .graph
                .states()
                .iter()
                .any(|s| s.next == Some(state.read));
            let read = moved || self.wanted.contains(&state.read);
            if let Some(value) = state.next {
                let root = self.places.get(&value).map(|s| self.plan.root(*s));
                let in_arena =
                    |s: &Slot| matches!(self.plan.slots[s.0 as usize], SlotUse::Arena { .. });
                let slot = root.filter(|s| self.schedule.late.is_none() && in_arena(s));
                if let Some(slot) = slot {
                    self.touch(slot, self.step);
                }
                self.plan.commits.push(Commit {
                    state: at,
                    value,
                    slot,
                });
            }
            if read {
                self.plan.reads.push((state.read, at));
            }
        }
    }

    /// The values that are sizes, where somebody needs them as data.
    fn sizes(&mut self) -> Result<()> {
        let mut wanted: Vec<Value> = self.wanted.iter().copied().collect();
        wanted.sort();
        for value in wanted {
            if let Some(fact) = self.graph.fact(value).filter(|f| f.is_symbolic()) {
                let fact = fact.at(self.bindings)?;
                let known = fact.constant().cloned();
                let known = known
                    .ok_or_else(|| Error::Graph(format!("the sizes {value} are not bound")))?;
                self.plan.sizes.push((value, known));
            }
        }
        Ok(())
    }

    /// Leaves out copies of sizes to the device that no dispatch reads: their values went into the dispatches.
    fn drop_unread(&mut self) {
        let plan = &self.plan;
        let mut read: HashSet<Slot> = (plan.dispatches())
            .flat_map(|d| d.spans.iter().map(|(_, span)| plan.root(span.slot)))
            .collect();
        read.extend(plan.commits.iter().filter_map(|c| Some(plan.root(c.slot?))));
        for stage in &plan.stages {
            if let PlanStage::Device { downloads, .. } = stage {
                read.extend(downloads.iter().map(|t| plan.root(t.slot)));
            }
        }
        let sizes: HashSet<Value> = plan.sizes.iter().map(|(v, _)| *v).collect();
        for stage in &mut self.plan.stages {
            if let PlanStage::Device { uploads, .. } = stage {
                uploads.retain(|t| !sizes.contains(&t.value) || read.contains(&t.slot));
            }
        }
    }

    fn finish(mut self) -> Result<Plan> {
        self.sizes()?;
        self.states();
        self.drop_unread();
        let mut tensors = vec![];
        for (slot, live) in self.plan.slots.iter().zip(&self.lives) {
            if let (SlotUse::Arena { bytes }, Some((first, last))) = (slot, live) {
                tensors.push(Lifetime {
                    bytes: *bytes,
                    first: *first,
                    last: *last,
                });
            }
        }
        let placed = memory::place(&tensors);
        let mut offsets = placed.offsets.into_iter();
        self.plan.offsets = (self.plan.slots.iter().zip(&self.lives))
            .map(|(slot, live)| match (slot, live) {
                (SlotUse::Arena { .. }, Some(_)) => offsets.next().unwrap_or(0),
                _ => 0,
            })
            .collect();
        self.plan.arena = placed.peak;
        self.plan.lower_bound = placed.lower_bound;
        Ok(self.plan)
    }
}
