//! Operators that work the same channels last: pointwise ones, and those whose axes can be renumbered.

use super::{Pass, plain, turned};
use crate::fact::axis_index;
use crate::ops::{GlobalPool, Layout, Pool, Reduce, Reduction};
use crate::passes::{Visit, copy};
use crate::{Fact, Graph, Op, Result, Value};

impl Pass<'_> {
    /// The node on twins, if it can follow; `x` is its first input.
    pub(super) fn follow(
        &mut self,
        visit: &Visit<'_>,
        new: &mut Graph,
        x: Value,
    ) -> Result<Option<Vec<Value>>> {
        let op = &visit.node.op;
        if matches!(
            op,
            Op::Binary(_) | Op::Variadic(_) | Op::Where(_) | Op::Map(_)
        ) {
            return self.pointwise(visit, new);
        }
        if let Op::Concat(concat) = op {
            return self.concat(visit, new, concat.axis);
        }
        let Some(&last) = self.twins.get(&x) else {
            return self.found(visit, new, x);
        };
        let rank = new.need_fact(last)?.rank();
        let rest = &visit.inputs[1..];
        match op {
            Op::Unary(_) | Op::Clip(_) | Op::Cast(_) | Op::Identity(_) => {
                self.add(visit, new, op.clone(), last, rest)
            }
            Op::Transpose(t) => {
                // The transpose of a transpose.
                let order = t.order(rank)?;
                let axes: Vec<usize> = (0..rank).collect();
                let first = Layout::ChannelsLast.to_first(&axes);
                let order: Vec<usize> = order.iter().map(|&i| first[i]).collect();
                if order.is_sorted() {
                    return Ok(Some(vec![last]));
                }
                Ok(Some(vec![turned(new, last, &order)?]))
            }
            Op::Reshape(_) => self.spatial_reshape(visit, new, last),
            Op::GlobalPool(pool) => self.global_pool(visit, new, pool, last),
            Op::Reduce(_) => self.reduce(visit, new, last, rank),
            _ => match self.renumbered(visit, new, rank)? {
                Some((op, rest)) => self.add(visit, new, op, last, &rest),
                None => Ok(None),
            },
        }
    }

    /// A transpose in the model that does what this pass would: its input is its twin.
    fn found(
        &mut self,
        visit: &Visit<'_>,
        new: &mut Graph,
        x: Value,
    ) -> Result<Option<Vec<Value>>> {
        let (Op::Transpose(t), Some(fact)) = (&visit.node.op, new.fact(x)) else {
            return Ok(None);
        };
        let axes: Vec<usize> = (0..fact.rank()).collect();
        if axes.len() < 3 || t.order(axes.len())? != Layout::ChannelsLast.to_first(&axes) {
            return Ok(None);
        }
        let values = copy(visit.node, visit.inputs, new)?;
        self.twins.insert(values[0], x);
        Ok(Some(values))
    }

    /// Operators with axes as attribute or constant input, on other axes.
    fn renumbered(
        &self,
        visit: &Visit<'_>,
        new: &mut Graph,
        rank: usize,
    ) -> Result<Option<(Op, Vec<Option<Value>>)>> {
        let mut op = visit.node.op.clone();
        let mut rest = visit.inputs[1..].to_vec();
        let name = visit.node.op.name().to_string();
        let one = |axis: i64| Ok::<i64, crate::Error>(moved(axis_index(&name, axis, rank)?, rank));
        match &mut op {
            Op::Softmax(op) => op.axis = one(op.axis)?,
            Op::Split(op) => op.axis = one(op.axis)?,
            Op::QuantizeLinear(op) => op.granularity.axis = one(op.granularity.axis)?,
            Op::DequantizeLinear(op) => op.granularity.axis = one(op.granularity.axis)?,
            Op::Resize(op) => {
                let all = (0..rank as i64).collect();
                let axes = if op.axes.is_empty() { &all } else { &op.axes };
                op.axes = axes.iter().map(|&a| one(a)).collect::<Result<_>>()?;
            }
            Op::Pad(_) | Op::Slice(_) => {
                // Input 3 holds the axes of both.
                let at = 2;
                let axes = match rest.get(at).copied().flatten() {
                    Some(v) => match new.fact(v).and_then(Fact::ints) {
                        Some(axes) => axes,
                        None => return Ok(None),
                    },
                    None => {
                        let pairs = rest.first().copied().flatten();
                        let count = pairs.and_then(|v| new.fact(v)?.elements().known());
                        let halves = if matches!(op, Op::Pad(_)) { 2 } else { 1 };
                        match count {
                            Some(n) if n / halves <= rank as i64 => (0..n / halves).collect(),
                            _ => return Ok(None),
                        }
                    }
                };
                let axes: Vec<i64> = axes.iter().map(|&a| one(a)).collect::<Result<_>>()?;
                rest.resize(rest.len().max(at + 1), None);
                rest[at] = Some(new.ints(&axes)?);
            }
            _ => return Ok(None),
        }
        if matches!(op, Op::QuantizeLinear(_) | Op::DequantizeLinear(_)) && blocked(new, &rest) {
            return Ok(None);
        }
        Ok(Some((op, rest)))
    }

    /// Functions of several operands that broadcast.
    fn pointwise(&mut self, visit: &Visit<'_>, new: &mut Graph) -> Result<Option<Vec<Value>>> {
        let mut rank = 0;
        for v in visit.inputs.iter().flatten() {
            match new.fact(*v) {
                Some(fact) => rank = rank.max(fact.rank()),
                None => return Ok(None),
            }
        }
        let full = |new: &Graph, v: &Value| {
            new.fact(*v)
                .is_some_and(|f| f.rank() == rank && f.weight().is_none())
        };
        let values = || visit.inputs.iter().flatten();
        let twins = values().filter(|v| full(new, v) && self.twins.contains_key(*v));
        let others = values().filter(|v| full(new, v) && !self.twins.contains_key(*v));
        let (twins, others) = (twins.count(), others.count());
        if rank < 3 || twins == 0 || others > twins {
            return Ok(None);
        }
        let mut inputs = vec![];
        for v in visit.inputs {
            inputs.push(match v {
                None => None,
                Some(v) => match self.operand(new, *v, rank)? {
                    Some(v) => Some(v),
                    None => return Ok(None),
                },
            });
        }
        self.add_all(visit, new, visit.node.op.clone(), &inputs)
    }

    /// An operand that broadcasts to a tensor of `rank`, channels last.
    fn operand(&mut self, new: &mut Graph, v: Value, rank: usize) -> Result<Option<Value>> {
        let fact = new.need_fact(v)?.clone();
        if fact.elements().known() == Some(1) || fact.rank() == 0 {
            return Ok(Some(v));
        }
        if let Some(tensor) = fact.load()? {
            let missing = vec![1; rank - fact.rank()];
            let shape = [missing, tensor.shape().to_vec()].concat();
            let last = Layout::ChannelsLast.tensor_from_first(&tensor.reshape(shape)?)?;
            return Ok(Some(new.constant(last)));
        }
        if fact.rank() < rank {
            return Ok(None);
        }
        self.last(new, v)
    }

    fn concat(
        &mut self,
        visit: &Visit<'_>,
        new: &mut Graph,
        axis: i64,
    ) -> Result<Option<Vec<Value>>> {
        let twins = (visit.inputs.iter().flatten()).filter(|v| self.twins.contains_key(*v));
        if 2 * twins.count() < visit.inputs.len().max(1) {
            return Ok(None);
        }
        let (mut inputs, mut rank) = (vec![], 0);
        for v in visit.inputs.iter().flatten() {
            match self.last(new, *v)? {
                Some(last) => inputs.push(Some(last)),
                None => return Ok(None),
            }
            rank = new.need_fact(*v)?.rank();
        }
        let axis = moved(axis_index("Concat", axis, rank)?, rank);
        self.add_all(visit, new, crate::ops::Concat { axis }.into(), &inputs)
    }

    /// A reshape that only merges or splits spatial axes.
    fn spatial_reshape(
        &mut self,
        visit: &Visit<'_>,
        new: &mut Graph,
        last: Value,
    ) -> Result<Option<Vec<Value>>> {
        let Some(Some(to)) = visit.node.outputs.first() else {
            return Ok(None);
        };
        let from = Layout::ChannelsLast.to_first(&new.need_fact(last)?.shape);
        if to.rank() < 3 || to.shape[..2] != from[..2] {
            return Ok(None);
        }
        let Some(sizes) = plain(&Layout::ChannelsLast.from_first(&to.shape)) else {
            return Ok(None);
        };
        let sizes = Some(new.ints(&sizes)?);
        let op = crate::ops::Reshape { allow_zero: false };
        self.add(visit, new, op.into(), last, &[sizes])
    }

    fn global_pool(
        &mut self,
        visit: &Visit<'_>,
        new: &mut Graph,
        pool: &GlobalPool,
        last: Value,
    ) -> Result<Option<Vec<Value>>> {
        let kind = match pool.kind {
            Pool::Average => Reduction::Mean,
            Pool::Max => Reduction::Max,
            Pool::Lp(1) => Reduction::L1,
            Pool::Lp(2) => Reduction::L2,
            Pool::Lp(_) => return Ok(None),
        };
        let axes: Vec<i64> = (1..new.need_fact(last)?.rank() as i64 - 1).collect();
        let axes = Some(new.ints(&axes)?);
        let op = Reduce {
            keep_dims: true,
            ..Reduce::new(kind)
        };
        self.add(visit, new, op.into(), last, &[axes])
    }

    fn reduce(
        &mut self,
        visit: &Visit<'_>,
        new: &mut Graph,
        last: Value,
        rank: usize,
    ) -> Result<Option<Vec<Value>>> {
        let Op::Reduce(op) = &visit.node.op else {
            return Ok(None);
        };
        let given = visit.inputs.get(1).copied().flatten();
        let Some(axes) = given.and_then(|v| new.fact(v)).and_then(Fact::ints) else {
            return Ok(None);
        };
        let mut first = vec![];
        for axis in axes {
            first.push(axis_index("Reduce", axis, rank)?);
        }
        first.sort_unstable();
        let moved_axes: Vec<i64> = first.iter().map(|&a| moved(a, rank)).collect();
        if moved_axes.is_empty() {
            return Ok(None);
        }
        let axes = Some(new.ints(&moved_axes)?);
        if op.keep_dims {
            return self.add(visit, new, op.clone().into(), last, &[axes]);
        }
        // What is left is batch and channels, in either layout.
        if first != (2..rank).collect::<Vec<_>>() {
            return Ok(None);
        }
        let outputs = new.add_node(op.clone().into(), &[Some(last), axes], &visit.node.name, 1)?;
        Ok(Some(outputs))
    }
}

/// Where a channels-first axis is, channels last.
fn moved(axis: usize, rank: usize) -> i64 {
    match axis {
        0 => 0,
        1 => rank as i64 - 1,
        _ => axis as i64 - 1,
    }
}

/// True if the scale is neither one number nor a vector: it would have to be transposed too.
fn blocked(new: &Graph, rest: &[Option<Value>]) -> bool {
    let scale = rest.first().copied().flatten();
    scale.and_then(|v| new.fact(v)).is_none_or(|f| f.rank() > 1)
}
