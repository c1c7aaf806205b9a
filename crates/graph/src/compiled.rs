//! A graph after passes, with its schedule, its recent plans, and the recent forms of its late part.

use crate::bind::bind_with;
use crate::control::Turn;
use crate::lower::Place;
use crate::passes::Known;
use crate::place::Placed;
use crate::plan::{Commit, Plan, PlanStage};
use crate::session::{HostStep, deny, late_reason};
use crate::stage::{Late, Schedule};
use crate::values::Uses;
use crate::{Bindings, Fact, Graph, Model, Op, Result, Symbol, Value, Weight, passes};
use std::collections::HashSet;
use std::sync::Arc;
use tilewright_device::{Buffer, Slot};
use tilewright_tensor::{DType, HostTensor, Shape};

/// How many plans, and forms of a late part, are kept. Batch sizes and sequence lengths repeat; more would hold memory.
const KEPT: usize = 8;

/// See the module.
pub(crate) struct Compiled {
    /// Shared, for a model's own graph, by its sessions.
    pub(crate) graph: Arc<Graph>,
    pub(crate) schedule: Arc<Schedule>,
    /// Most recent first.
    pub(crate) bound: Vec<Bound>,
    late: Vec<(LateKey, Compiled)>,
    pub(crate) bodies: Bodies,
    /// Constants that the host reads in every run. They have sources, and would be loaded again for each otherwise.
    _loaded: Vec<HostTensor>,
    /// Of a body whose sizes follow the number of the turn: the body for turns that have other sizes than these say.
    pub(crate) plain: Option<Box<Compiled>>,
}

/// What a form of a late part is for: values where they matter, by their bits, and else types and shapes.
type LateKey = (Vec<HostTensor>, Vec<(DType, Shape)>);

/// The bodies of control flow nodes, for the shapes that they were last run with.
#[derive(Default)]
pub(crate) struct Bodies(Vec<Body>);

struct Body {
    graph: Arc<Graph>,
    inputs: Vec<Fact>,
    compiled: Compiled,
}

impl Bodies {
    /// The body of `turn`, compiled for its inputs; `counter` as for [`crate::control::Walk::counter`].
    pub(crate) fn get(
        &mut self,
        turn: &Turn,
        counter: Option<usize>,
        model: &Model,
    ) -> Result<&mut Compiled> {
        let same = |b: &Body| Arc::ptr_eq(&b.graph, &turn.body);
        let inputs: Vec<Fact> = (turn.inputs.iter())
            .map(|t| Fact::sized(t.dtype(), t.shape()))
            .collect();
        let body = match self.0.iter().position(|b| same(b) && b.inputs == inputs) {
            Some(at) => self.0.remove(at),
            None => {
                let compiled = body(&turn.body, &inputs, counter, model)?;
                let kept = self.0.iter().filter(|b| same(b)).count();
                if let Some(oldest) = self.0.iter().position(same).filter(|_| kept >= KEPT) {
                    self.0.remove(oldest);
                }
                let graph = turn.body.clone();
                Body {
                    graph,
                    inputs,
                    compiled,
                }
            }
        };
        self.0.push(body);
        let last = self.0.len() - 1;
        Ok(&mut self.0[last].compiled)
    }
}

/// A body for these inputs. What waits for the number of the turn would be compiled in every turn; where that number as a
/// symbol is enough for all sizes, each turn only binds it. It then binds all nodes, each in about a quarter of the time that
/// compiling one takes, so a small part of a large body goes on waiting.
fn body(graph: &Graph, inputs: &[Fact], counter: Option<usize>, model: &Model) -> Result<Compiled> {
    let with = |inputs: &[Fact]| {
        let known = (graph.inputs().iter().zip(inputs))
            .map(|((_, v), fact)| (*v, Known::Fact(fact.clone())))
            .collect();
        Compiled::new(&passes::specialise(graph, &known)?, model)
    };
    let plain = with(inputs)?;
    let waiting = plain.schedule.late.as_ref().map_or(0, |l| l.graph.len());
    let mut inputs = inputs.to_vec();
    let number = counter.and_then(|at| inputs.get_mut(at));
    let much = waiting > 0 && 4 * waiting >= plain.graph.len();
    let Some(number) = number.filter(|fact| much && fact.count() == 1) else {
        return Ok(plain);
    };
    let symbol = Symbol::maybe_empty("iteration").into();
    *number = Fact::of_dims(number.dtype, &vec![1; number.rank()], vec![symbol]);
    match with(&inputs) {
        Ok(mut numbered) if numbered.schedule.late.is_none() => {
            numbered.plain = Some(Box::new(plain));
            Ok(numbered)
        }
        _ => Ok(plain),
    }
}

/// A plan and its form on the device.
pub(crate) struct Bound {
    bindings: Bindings,
    pub(crate) plan: Plan,
    pub(crate) uses: Arc<Uses>,
    pub(crate) placed: Placed,
}

impl Bound {
    /// First byte of a slot in the arena.
    pub(crate) fn place_of(&self, slot: Slot) -> u64 {
        self.plan.offsets[self.plan.root(slot).0 as usize]
    }

    /// Whether these are its sizes.
    pub(crate) fn is_for(&self, bindings: &Bindings) -> bool {
        self.bindings == *bindings
    }

    /// Where a state's next value lies, if that is in the arena.
    pub(crate) fn source(&self, commit: &Commit) -> Option<(Buffer, u64)> {
        let placed = self.placed.get()?;
        Some((placed.arena.clone(), self.place_of(commit.slot?)))
    }
}

impl Compiled {
    pub(crate) fn new(graph: &Graph, model: &Model) -> Result<Compiled> {
        Compiled::of(Compiled::parts(graph, model)?, model)
    }

    /// A graph after passes, and its schedule.
    pub(crate) fn parts(graph: &Graph, model: &Model) -> Result<(Arc<Graph>, Arc<Schedule>)> {
        let graph = match model.caps() {
            Some(caps) => {
                let most = model.options().limits.memory;
                passes::device(&passes::weights(graph, most)?, caps)?
            }
            None => graph.clone(),
        };
        let schedule = Schedule::new(&graph, model.caps())?;
        deny(&graph, &schedule, model)?;
        Ok((Arc::new(graph), Arc::new(schedule)))
    }

    /// Without plans. Loads the constants that the host reads.
    pub(crate) fn of(
        (graph, schedule): (Arc<Graph>, Arc<Schedule>),
        model: &Model,
    ) -> Result<Compiled> {
        let weights = host_weights(&graph, &schedule, model.gpu().is_some());
        let mut loaded = vec![];
        for weight in weights.iter().filter(|w| w.held().is_none()) {
            loaded.push(weight.load()?);
            weight.forget();
        }
        Ok(Compiled {
            graph,
            schedule,
            bound: vec![],
            late: vec![],
            bodies: Bodies::default(),
            _loaded: loaded,
            plain: None,
        })
    }

    /// Brings the plan for `bindings` to the front, making it if it is new.
    pub(crate) fn bind(&mut self, model: &Model, bindings: &Bindings) -> Result<()> {
        if let Some(at) = self.bound.iter().position(|b| b.bindings == *bindings) {
            self.bound[..=at].rotate_right(1);
            return Ok(());
        }
        let Some(caps) = model.caps() else {
            return Ok(());
        };
        let on = (caps, &*model.choices());
        let plan = bind_with(&self.graph, &self.schedule, bindings, on, model.derived())?;
        self.bound.truncate(KEPT - 1);
        let bound = Bound {
            bindings: bindings.clone(),
            uses: Arc::new(Uses::new(&self.graph, &self.schedule, &plan)),
            plan,
            placed: Placed::default(),
        };
        self.bound.insert(0, bound);
        Ok(())
    }

    /// The late part for these values: equal where values matter, of equal type and shape elsewhere.
    pub(crate) fn late_part(
        &mut self,
        late: &Late,
        taken: &[HostTensor],
        model: &Model,
    ) -> Result<&mut Compiled> {
        let mut key = LateKey::default();
        for (t, by_value) in taken.iter().zip(&late.by_value) {
            match by_value {
                true => key.0.push(t.clone()),
                false => key.1.push((t.dtype(), t.shape().clone())),
            }
        }
        match self.late.iter().position(|(k, _)| *k == key) {
            Some(at) => self.late[..=at].rotate_right(1),
            None => {
                let part = Compiled::new(&late.specialise(taken)?, model)?;
                self.late.truncate(KEPT - 1);
                self.late.insert(0, (key, part));
            }
        }
        Ok(&mut self.late[0].1)
    }

    /// Whether a run of the newest plan reads inputs in buffers after it has written outputs.
    pub(crate) fn reads_feeds_late(&self) -> bool {
        let stages = self.bound.first().into_iter().flat_map(|b| &b.plan.stages);
        let on_device = stages.filter(|s| matches!(s, PlanStage::Device { .. }));
        let is_input = |v: &Value| matches!(self.graph.node(*v).op, Op::Input(_));
        on_device.count() > 1 || self.graph.outputs().iter().any(|(_, v)| is_input(v))
    }

    /// Values of the newest plan that the host reads, where these outputs go to buffers instead of it.
    pub(crate) fn host_reads(&self, bound: &[bool]) -> HashSet<Value> {
        let outputs = self.graph.outputs().iter().zip(bound);
        let given = outputs.filter(|(_, bound)| !**bound);
        let mut reads: HashSet<Value> = given.map(|((_, v), _)| *v).collect();
        reads.extend(self.schedule.late.iter().flat_map(|l| &l.takes));
        reads.extend(read_by_nodes(&self.graph, &self.schedule));
        let commits = self.bound.first().into_iter().flat_map(|b| &b.plan.commits);
        reads.extend(commits.filter(|c| c.slot.is_none()).map(|c| c.value));
        reads
    }

    pub(crate) fn host_steps(&self) -> Vec<HostStep> {
        let mut steps = vec![];
        let nodes = self.graph.nodes();
        let mut push = |i: usize, reason: &str| {
            let (node, op) = (nodes[i].name.to_string(), nodes[i].op.name().to_string());
            steps.push(HostStep {
                node,
                op,
                reason: reason.into(),
            });
        };
        for (i, place) in self.schedule.places.iter().enumerate() {
            if let Some(Place::Host(reason)) = place {
                push(i, reason);
            }
        }
        for &i in self.schedule.late.iter().flat_map(|l| &l.compute) {
            push(i as usize, late_reason(&nodes[i as usize].op));
        }
        let mut listed: Vec<*const Graph> = vec![];
        for body in self.bodies.0.iter().rev() {
            let graph = Arc::as_ptr(&body.graph);
            if !listed.contains(&graph) {
                listed.push(graph);
                steps.extend(body.compiled.host_steps());
            }
        }
        if let Some((_, part)) = self.late.first() {
            steps.extend(part.host_steps());
        }
        steps
    }

    pub(crate) fn plans(&self) -> Vec<&Plan> {
        let mut plans: Vec<&Plan> = self.bound.iter().map(|b| &b.plan).collect();
        if let Some((_, part)) = self.late.first() {
            plans.extend(part.plans());
        }
        plans
    }
}

/// The nodes that run on the host.
fn host_nodes(schedule: &Schedule) -> impl Iterator<Item = usize> {
    let computed = schedule.late.iter().flat_map(|l| &l.compute);
    let places = schedule.places.iter().enumerate();
    let on_host = places.filter(|(_, place)| matches!(place, Some(Place::Host(_))));
    (computed.map(|i| *i as usize)).chain(on_host.map(|(i, _)| i))
}

/// The values that nodes on the host read.
fn read_by_nodes(graph: &Graph, schedule: &Schedule) -> HashSet<Value> {
    let nodes = host_nodes(schedule).map(|i| &graph.nodes()[i]);
    nodes
        .flat_map(|node| node.inputs.iter().flatten().copied())
        .collect()
}

/// The constants that nodes on the host read, and those that are outputs.
fn host_weights(graph: &Graph, schedule: &Schedule, device: bool) -> Vec<Weight> {
    let mut reads = read_by_nodes(graph, schedule);
    reads.extend(graph.outputs().iter().map(|(_, v)| *v));
    let weights = reads.into_iter().filter_map(|v| graph.weight_of(v));
    let mut weights: Vec<Weight> = weights.cloned().collect();
    for node in host_nodes(schedule).map(|i| &graph.nodes()[i]) {
        // Where there is a device, it runs these bodies.
        let driven = matches!(node.op, Op::If(_) | Op::Loop(_) | Op::Scan(_));
        if !(driven && device) {
            for inner in node.op.graphs() {
                inner.each_weight(&mut |w| weights.push(w.clone()));
            }
        }
    }
    weights
}
