//! What a graph computes as it is built: nodes whose inputs are constants, and sizes that are moved about.

use super::{Graph, Value};
use crate::fact::MAX_FOLLOWED;
use crate::limits::{empty, nothing};
use crate::{Dim, Error, Fact, Op, Result, Weight};
use tilewright_tensor::HostTensor;

/// Folding is for shapes, axes and small or shrinking tensors: results up to this size, or up to the inputs' size.
const FOLD_BYTES: u64 = 1 << 16;

/// What all foldings of a graph may cost together, in bytes kept (besides as many as its constants have) and in steps:
/// a small file can ask for a lot. Shapes and axes are folded whatever was folded before.
const FOLD_TOTAL: Folded = Folded {
    bytes: 16 << 20,
    work: 1 << 26,
};

/// A folding up to this size is always done.
const FOLD_SMALL: Folded = Folded {
    bytes: 1 << 11,
    work: 1 << 12,
};

/// Steps of a reference that sizes are followed through.
const FOLLOW_WORK: u64 = 1 << 16;

/// The cost of foldings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Folded {
    bytes: u64,
    work: u64,
}

impl Folded {
    fn within(self, most: Folded) -> bool {
        self.bytes <= most.bytes && self.work <= most.work
    }

    fn and(self, other: Folded) -> Folded {
        Folded {
            bytes: self.bytes.saturating_add(other.bytes),
            work: self.work.saturating_add(other.work),
        }
    }
}

impl Graph {
    /// The outputs as constants, if all inputs are and the result is small, and what all foldings cost with it.
    pub(super) fn fold(
        &self,
        op: &Op,
        inputs: &[Option<Value>],
        facts: &[Option<Fact>],
    ) -> Result<Option<(Vec<Weight>, Folded)>> {
        if !op.folds() {
            return Ok(None);
        }
        let (mut weights, mut known) = (vec![], vec![]);
        for input in inputs {
            match input.map(|v| (self.weight_of(v), self.fact(v))) {
                None => {
                    weights.push(None);
                    known.push(None);
                }
                Some((Some(w), fact)) => {
                    weights.push(Some(w));
                    known.push(fact);
                }
                Some(_) => return Ok(None),
            }
        }
        let bytes_in: u64 = weights.iter().flatten().map(|w| w.bytes()).sum();
        // Data-dependent shapes of constants are found by computing them; there are not many more elements then.
        let outputs: Option<Vec<Fact>> = facts.iter().cloned().collect();
        let outputs = outputs.unwrap_or_default();
        let sum = |sum: u64, fact: &Fact| sum.saturating_add(fact.bytes());
        let bytes = match outputs.is_empty() {
            true => bytes_in,
            false => outputs.iter().fold(0, sum),
        };
        let cost = Folded {
            bytes,
            work: op.work(&known, &outputs),
        };
        let all = self.folded.and(cost);
        let most = FOLD_TOTAL.and(Folded {
            bytes: self.given,
            work: 0,
        });
        if bytes > FOLD_BYTES.max(bytes_in) || !(cost.within(FOLD_SMALL) || all.within(most)) {
            return Ok(None);
        }
        let folded = match nothing(&outputs) {
            true => empty(&outputs)?,
            false => return Ok(Some((evaluated(op, &weights)?, all))),
        };
        Ok(Some((folded.into_iter().map(Weight::from).collect(), all)))
    }

    /// Adds the symbolic values of outputs whose elements are only moved from inputs with symbolic values: the
    /// reference runs on indices into the list of sizes instead of on the sizes.
    pub(super) fn follow(
        &self,
        op: &Op,
        inputs: &[Option<Value>],
        mut facts: Vec<Option<Fact>>,
    ) -> Result<Vec<Option<Fact>>> {
        let symbolic = |v: &Value| self.fact(*v).is_some_and(Fact::is_symbolic);
        let moved =
            |(i, v): (usize, &Option<Value>)| op.moves(i) && v.as_ref().is_some_and(symbolic);
        let known = |f: &Fact| f.constant().is_some() || f.is_symbolic();
        if !inputs.iter().enumerate().any(moved) || facts.iter().flatten().any(known) {
            return Ok(facts);
        }
        let Some((sizes, tensors)) = self.indexed(op, inputs)? else {
            return Ok(facts);
        };
        let many = |f: &Fact| f.elements().known().is_none_or(|n| n > MAX_FOLLOWED as i64);
        if facts.iter().flatten().any(many) {
            return Ok(facts);
        }
        let given = inputs.iter().map(|v| v.and_then(|v| self.fact(v)));
        let outputs: Vec<Fact> = facts.iter().flatten().cloned().collect();
        if op.work(&given.collect::<Vec<_>>(), &outputs) > FOLLOW_WORK {
            return Ok(facts);
        }
        let tensors: Vec<Option<&HostTensor>> = tensors.iter().map(Option::as_ref).collect();
        for (fact, ids) in facts.iter_mut().zip(op.reference(&tensors)?) {
            let dims = ids
                .to_i64()?
                .into_iter()
                .map(|i| sizes.get(i as usize).cloned());
            if let (Some(f), Some(dims)) = (fact.as_mut(), dims.collect::<Option<Vec<_>>>()) {
                *f = Fact::of_dims(f.dtype, &ids.shape()[..], dims);
            }
        }
        Ok(facts)
    }

    /// The sizes in the inputs whose elements `op` moves, and the inputs with indices into them in their place; none
    /// where an input is not known.
    fn indexed(
        &self,
        op: &Op,
        inputs: &[Option<Value>],
    ) -> Result<Option<(Vec<Dim>, Vec<Option<HostTensor>>)>> {
        let (mut sizes, mut tensors) = (vec![], vec![]);
        for (i, input) in inputs.iter().enumerate() {
            let Some(v) = input else {
                tensors.push(None);
                continue;
            };
            let Some(fact) = self.fact(*v) else {
                return Ok(None);
            };
            if op.moves(i) {
                let (Some(dims), Some(shape)) = (fact.dims(), fact.known_shape()) else {
                    return Ok(None);
                };
                let from = sizes.len() as i64;
                let ids: Vec<i64> = (from..from + dims.len() as i64).collect();
                sizes.extend(dims);
                tensors.push(Some(HostTensor::from_vec(shape, ids)?));
            } else {
                let Some(t) = fact.load()? else {
                    return Ok(None);
                };
                tensors.push(Some(t));
            }
        }
        Ok(Some((sizes, tensors)))
    }
}

/// The outputs of `op`. One that has the very elements of a weight under another shape stays that weight, with its source.
pub(crate) fn evaluated(op: &Op, weights: &[Option<&Weight>]) -> Result<Vec<Weight>> {
    let loaded = weights.iter().map(|w| w.map(Weight::load).transpose());
    let loaded = loaded.collect::<Result<Vec<_>>>()?;
    let args: Vec<Option<&HostTensor>> = loaded.iter().map(Option::as_ref).collect();
    let from = || weights.iter().map(|w| w.cloned()).collect();
    let output = |(i, made): (usize, HostTensor)| {
        let same = |t: &&HostTensor| {
            t.dtype() == made.dtype()
                && t.len() == made.len()
                && t.storage_ref() == made.storage_ref()
        };
        let pairs = weights.iter().flatten().zip(args.iter().flatten());
        match pairs.into_iter().find(|(_, t)| same(t)) {
            Some((weight, _)) => weight.reshape(made.shape()),
            None => {
                let op = op.clone();
                let again = move |args: &[Option<&HostTensor>]| {
                    let made = op.reference(args)?.into_iter().nth(i);
                    made.ok_or_else(|| Error::Graph(format!("{} has no output {i}", op.name())))
                };
                Ok(Weight::made(from(), made, again))
            }
        }
    };
    let made = op.reference(&args)?.into_iter().enumerate();
    made.map(output).collect()
}
