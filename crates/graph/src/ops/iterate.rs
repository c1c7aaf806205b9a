//! Loop: a body run as often as a count and a condition say.

use crate::control::{Pile, Turn, Walk, any_value, drive, fits, outputs_of, single};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::limits::Meter;
use crate::lower::{Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Graph, Op, Result, RunLimits, Value, samples};
use std::sync::Arc;
use tilewright_tensor::{DType, HostTensor};

/// ONNX Loop-25. Inputs: the most iterations (may be left out), the condition to begin (may be left out), N carried
/// values, and the values that the body takes from around it. Outputs: the N carried values, then K scan outputs.
#[derive(Clone, Debug)]
pub struct Loop {
    /// Inputs: iteration, condition, carried values, taken values. Outputs: condition, carried values, scan elements.
    pub body: Arc<Graph>,
    /// How many values the body takes from around it.
    pub captures: usize,
}

/// The body's inputs before the carried values.
const OWN: usize = 2;

impl Loop {
    /// Number of carried values.
    fn carried(&self, inputs: usize) -> Result<usize> {
        let inputs = inputs.max(OWN);
        let carried = inputs
            .checked_sub(OWN + self.captures)
            .ok_or_else(|| Error::op("Loop", "the body takes more values than the node has"))?;
        fits("Loop", &self.body, inputs, carried + 1)?;
        Ok(carried)
    }

    /// What is known of the body's inputs in the first iteration.
    pub(crate) fn facts(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let carried = self.carried(inputs.len())?;
        let own = [DType::I64, DType::Bool];
        let mut facts: Vec<Fact> = (own.iter().enumerate())
            .map(|(i, dtype)| Fact::sized(*dtype, &vec![1; self.rank(i)]))
            .collect();
        for i in OWN..inputs.len() {
            let fact = inputs.req(i)?;
            // What the body takes from around it does not change; the carried values do.
            facts.push(if i < OWN + carried {
                any_value(fact)
            } else {
                fact.clone()
            });
        }
        Ok(facts)
    }

    /// True if the body never asks to stop: it answers with a constant, or with the condition it was given.
    fn never_stops(&self) -> bool {
        let Some((_, mut value)) = self.body.outputs().first().cloned() else {
            return false;
        };
        while let Op::Identity(_) = self.body.node(value).op
            && let Some(&Some(from)) = self.body.node(value).inputs.first()
        {
            value = from;
        }
        let given: Option<&(Arc<str>, Value)> = self.body.inputs().get(1);
        given.is_some_and(|(_, v)| *v == value)
            || (self.body.fact(value))
                .and_then(Fact::ints)
                .is_some_and(|v| v == [1])
    }

    /// The number of iterations, where it follows from the inputs alone.
    fn trips(&self, inputs: Facts<'_>) -> Option<Dim> {
        match inputs.opt(1) {
            None => {}
            Some(fact) if fact.ints()? == [0] => return Some(0i64.into()),
            Some(_) => {}
        }
        let count = inputs.opt(0)?.dims()?;
        let [count] = &count[..] else { return None };
        self.never_stops().then(|| count.larger(&Dim::from(0i64)))
    }

    pub(crate) fn walk(
        &self,
        inputs: Tensors<'_>,
        limits: &RunLimits,
    ) -> Result<impl Walk + use<>> {
        let carried = self.carried(inputs.len())?;
        let most = single(inputs, 0)?;
        let condition = single(inputs, 1)?;
        let limit = limits.loop_iterations;
        let over = most.is_none_or(|m| u64::try_from(m).is_ok_and(|m| m > limit));
        let going = condition != Some(0);
        if going && over && self.never_stops() {
            return Err(too_long(limit));
        }
        let need = |i: usize| inputs.req(i).cloned();
        let state = (OWN..OWN + carried).map(need).collect::<Result<Vec<_>>>()?;
        let taken = (OWN + carried..inputs.len()).map(need);
        Ok(Iterations {
            ranks: [0, 1].map(|i| self.rank(i)),
            body: self.body.clone(),
            taken: taken.collect::<Result<_>>()?,
            piles: (carried + 1..self.body.outputs().len())
                .map(|_| Pile::default())
                .collect(),
            state,
            most,
            // An empty condition leaves the body's answer without effect.
            going,
            heeds: condition.is_some(),
            done: 0,
            used: 0,
            limits: *limits,
        })
    }

    /// The rank that the body declares for its own input `i`: exporters write scalars and vectors of one element.
    fn rank(&self, i: usize) -> usize {
        let input = self.body.inputs().get(i);
        let fact = input.and_then(|(_, v)| self.body.fact(*v));
        fact.map_or(0, |f| f.rank())
    }
}

fn too_long(limit: u64) -> Error {
    Error::Limit {
        what: "Loop: the number of iterations".into(),
        limit,
    }
}

struct Iterations {
    body: Arc<Graph>,
    ranks: [usize; 2],
    state: Vec<HostTensor>,
    taken: Vec<HostTensor>,
    piles: Vec<Pile>,
    most: Option<i64>,
    going: bool,
    heeds: bool,
    done: i64,
    used: u64,
    limits: RunLimits,
}

impl Iterations {
    fn inputs(&self) -> Result<Vec<HostTensor>> {
        let at = |rank: usize| vec![1usize; rank];
        let iteration = HostTensor::scalar(self.done).reshape(at(self.ranks[0]))?;
        let condition = HostTensor::scalar(self.going).reshape(at(self.ranks[1]))?;
        let mut inputs = vec![iteration, condition];
        inputs.extend(self.state.iter().chain(&self.taken).cloned());
        Ok(inputs)
    }
}

impl Walk for Iterations {
    fn counter(&self) -> Option<usize> {
        Some(0)
    }

    fn next(&mut self) -> Result<Option<Turn>> {
        if !self.going || self.most.is_some_and(|m| self.done >= m) {
            return Ok(None);
        }
        if u64::try_from(self.done).is_ok_and(|n| n >= self.limits.loop_iterations) {
            return Err(too_long(self.limits.loop_iterations));
        }
        Ok(Some(Turn {
            body: self.body.clone(),
            inputs: self.inputs()?,
        }))
    }

    fn accept(&mut self, outputs: Vec<HostTensor>) -> Result<()> {
        let mut outputs = outputs.into_iter();
        let condition = outputs.next();
        let answer = single(Tensors::new("Loop", &[condition.as_ref()]), 0)?;
        for (state, new) in self.state.iter_mut().zip(&mut outputs) {
            *state = new;
        }
        for (pile, element) in self.piles.iter_mut().zip(outputs) {
            pile.push("Loop", element, &mut self.used, &self.limits)?;
        }
        self.done += 1;
        self.going = !self.heeds || answer != Some(0);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<HostTensor>> {
        let facts: Vec<Fact> = (self.inputs()?.iter())
            .map(|t| Fact::sized(t.dtype(), t.shape()))
            .collect();
        let mut out = self.state;
        let first = 1 + out.len();
        for (i, pile) in self.piles.into_iter().enumerate() {
            let empty = || outputs_of(&self.body, &facts).get(first + i)?.clone();
            out.push(pile.stack("Loop", 0, false, empty)?);
        }
        Ok(out)
    }
}

impl Operator for Loop {
    const NAMES: &'static [&'static str] = &["Loop"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Loop")
            .with("body", self.body.clone())
            .with("captures", self.captures as i64)
    }

    /// `captures` is not ONNX's: the reader counts the values that it appended to the node's inputs.
    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Loop {
            body: attrs.need("body")?,
            captures: super::control_captures(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let late = || Error::DataDependent { op: "Loop" };
        let carried = self.carried(inputs.len())?;
        let facts = self.facts(inputs)?;
        let outputs: Option<Vec<Fact>> = outputs_of(&self.body, &facts).into_iter().collect();
        let outputs = outputs.ok_or_else(late)?;
        let (state, elements) = outputs[1..].split_at(carried);
        for (before, after) in facts[OWN..].iter().zip(state) {
            if before.dtype != after.dtype {
                let what = format!(
                    "a carried value is {} and then {}",
                    before.dtype, after.dtype
                );
                return Err(inputs.error(what));
            }
            if before.shape != after.shape {
                return Err(late());
            }
        }
        let mut out: Vec<Fact> = state.iter().map(any_value).collect();
        for element in elements {
            let mut shape = element.shape.clone();
            shape.insert(0, self.trips(inputs).ok_or_else(late)?);
            out.push(Fact::new(element.dtype, shape));
        }
        Ok(out)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let limits = RunLimits::default();
        drive(Box::new(self.walk(inputs, &limits)?), &Meter::new(limits))
    }

    fn place(&self, _: &Placing<'_>) -> Place {
        Place::host("control flow")
    }

    /// A model may ask for any number of iterations; that is for run time, where there are limits.
    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let count = |n: i64| Some(HostTensor::scalar(n));
        let yes = || Some(HostTensor::scalar(true));
        let x = || Some(samples::uniform(&[2, 3], 1));
        let list = [
            ("counted", step(false), [count(3), None]),
            ("condition too", step(false), [count(3), yes()]),
            ("no iteration", step(false), [count(0), yes()]),
            (
                "never begun",
                step(false),
                [count(3), Some(HostTensor::scalar(false))],
            ),
            ("growing", step(true), [count(4), None]),
        ];
        let mut cases = vec![];
        for (name, op, [count, condition]) in list {
            let op = op.expect("a body that fits");
            let inputs = vec![count, condition, x(), x()];
            let case = Case::with_optional(name, op, inputs);
            cases.extend([case.clone(), case.constant(&[0])]);
        }
        cases
    }
}

/// A body that carries `s` with a scan output and a captured value: s, s or s joined with the captured value.
fn step(grows: bool) -> Result<Loop> {
    let mut body = Graph::new();
    let i = body.input("i", Some(Fact::sized(DType::I64, &[])))?;
    let condition = body.input("go", Some(Fact::sized(DType::Bool, &[])))?;
    let shape = || vec![Dim::symbol("rows"), Dim::from(3i64)];
    let state = body.input("s", Some(Fact::new(DType::F32, shape())))?;
    let outer = body.input("outer", Some(Fact::sized(DType::F32, &[2, 3])))?;
    let order = if grows {
        body.add1(super::Concat { axis: 0 }, &[state, outer])?
    } else {
        body.add1(super::Identity, &[outer])?
    };
    body.output("go_on", condition);
    body.output("s_next", order);
    body.output("number", i);
    Ok(Loop {
        body: Arc::new(body),
        captures: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: &Loop, count: i64, limits: &RunLimits) -> Result<Vec<HostTensor>> {
        let x = samples::uniform(&[2, 3], 1);
        let count = HostTensor::scalar(count);
        let inputs = [Some(&count), None, Some(&x), Some(&x)];
        drive(
            Box::new(op.walk(Tensors::new("Loop", &inputs), limits)?),
            &Meter::new(*limits),
        )
    }

    #[test]
    fn endless_loops_end_in_an_error() {
        let op = step(false).unwrap();
        let limits = RunLimits::default();
        assert!(matches!(
            run(&op, i64::MAX, &limits),
            Err(Error::Limit { .. })
        ));
        let few = RunLimits {
            loop_iterations: 5,
            ..limits
        };
        assert!(run(&op, 5, &few).is_ok());
        assert!(matches!(run(&op, 6, &few), Err(Error::Limit { .. })));
    }

    #[test]
    fn scan_outputs_are_stacked_in_order() {
        let out = run(&step(false).unwrap(), 3, &RunLimits::default()).unwrap();
        assert_eq!(out[1].shape()[..], [3]);
        assert_eq!(out[1].to_i64().unwrap(), [0, 1, 2]);
    }

    #[test]
    fn scan_outputs_count_as_memory() {
        let limits = RunLimits {
            memory: 256,
            ..RunLimits::default()
        };
        let op = step(false).unwrap();
        assert!(run(&op, 2, &limits).is_ok());
        assert!(matches!(run(&op, 300, &limits), Err(Error::Limit { .. })));
    }
}
