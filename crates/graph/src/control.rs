//! Control flow as walks: which body runs next, and with what inputs. The host executor and sessions drive the same
//! walks and run the bodies where they like.

use crate::fact::Tensors;
use crate::limits::Meter;
use crate::passes::{Known, specialise};
use crate::{Error, Fact, Graph, Op, Result, RunLimits, host};
use std::collections::HashMap;
use std::sync::Arc;
use tilewright_device::ThreadSafe;
use tilewright_tensor::HostTensor;

/// A body to run now.
pub(crate) struct Turn {
    /// The body.
    pub(crate) body: Arc<Graph>,
    /// Its inputs, in the order of [`Graph::inputs`].
    pub(crate) inputs: Vec<HostTensor>,
}

/// Runs of bodies on behalf of one node.
pub(crate) trait Walk: ThreadSafe {
    /// What to run next; none when the walk is over.
    fn next(&mut self) -> Result<Option<Turn>>;

    /// Which input of every turn is the number of the turn, if one is.
    fn counter(&self) -> Option<usize> {
        None
    }

    /// Takes the outputs of the body that [`Walk::next`] gave last.
    fn accept(&mut self, outputs: Vec<HostTensor>) -> Result<()>;

    /// The node's outputs.
    fn finish(self: Box<Self>) -> Result<Vec<HostTensor>>;
}

/// The walk of a control flow node; none for other operators.
pub(crate) fn walk(
    op: &Op,
    inputs: &[Option<&HostTensor>],
    limits: &RunLimits,
) -> Result<Option<Box<dyn Walk>>> {
    let inputs = Tensors::new(op.name(), inputs);
    Ok(match op {
        Op::If(op) => Some(Box::new(op.walk(inputs)?)),
        Op::Loop(op) => Some(Box::new(op.walk(inputs, limits)?)),
        Op::Scan(op) => Some(Box::new(op.walk(inputs, limits)?)),
        _ => None,
    })
}

/// Drives a walk on the host.
pub(crate) fn drive(mut walk: Box<dyn Walk>, meter: &Meter) -> Result<Vec<HostTensor>> {
    while let Some(turn) = walk.next()? {
        meter.check()?;
        walk.accept(host::metered(&turn.body, &turn.inputs, &mut [], meter)?)?;
    }
    walk.finish()
}

/// Facts of a body's outputs, given facts of its inputs; none where they have to wait, or where the body does not fit
/// these inputs (then it may never run).
pub(crate) fn outputs_of(body: &Graph, inputs: &[Fact]) -> Vec<Option<Fact>> {
    let known: HashMap<_, _> = (body.inputs().iter().zip(inputs))
        .map(|((_, v), fact)| (*v, Known::Fact(fact.clone())))
        .collect();
    match specialise(body, &known) {
        Ok(graph) => (graph.outputs().iter())
            .map(|(_, v)| graph.fact(*v).cloned())
            .collect(),
        Err(_) => vec![None; body.outputs().len()],
    }
}

/// A fact of which only type and shape hold in every iteration.
pub(crate) fn any_value(fact: &Fact) -> Fact {
    Fact::new(fact.dtype, fact.shape.clone())
}

/// Checks that a body has as many inputs and at least as many outputs as its node needs.
pub(crate) fn fits(op: &str, body: &Graph, inputs: usize, outputs: usize) -> Result<()> {
    let (have_in, have_out) = (body.inputs().len(), body.outputs().len());
    if have_in != inputs || have_out < outputs {
        let what = format!(
            "the body has {have_in} inputs and {have_out} outputs; {inputs} and at least {outputs} are needed"
        );
        return Err(Error::op(op, what));
    }
    Ok(())
}

/// Elements of a scan output, one an iteration.
#[derive(Debug, Default)]
pub(crate) struct Pile {
    elements: Vec<HostTensor>,
}

impl Pile {
    /// Adds an element; all have one type and shape. `used` counts the bytes of all piles of a node.
    pub(crate) fn push(
        &mut self,
        op: &str,
        element: HostTensor,
        used: &mut u64,
        limits: &RunLimits,
    ) -> Result<()> {
        if let Some(first) = self.elements.first()
            && (first.dtype() != element.dtype() || first.shape() != element.shape())
        {
            let (a, b) = (first.shape(), element.shape());
            let what = format!("a scan output was {a:?} and then {b:?}");
            return Err(Error::op(op, what));
        }
        *used = used.saturating_add(element.bytes().len() as u64);
        if *used > limits.memory {
            return Err(Error::Limit {
                what: format!("{op}: bytes of scan outputs"),
                limit: limits.memory,
            });
        }
        self.elements.push(element);
        Ok(())
    }

    /// The elements side by side along a new axis `axis`, in order or, with `prepend`, the last one first. `empty` says
    /// what an element would have been if there is none.
    pub(crate) fn stack(
        mut self,
        op: &str,
        axis: i64,
        prepend: bool,
        empty: impl FnOnce() -> Option<Fact>,
    ) -> Result<HostTensor> {
        if prepend {
            self.elements.reverse();
        }
        let (dtype, element) = match self.elements.first() {
            Some(first) => (first.dtype(), first.shape().to_vec()),
            None => {
                let fact = empty()
                    .ok_or_else(|| Error::op(op, "a scan output without elements has no type"))?;
                // What is not known of a shape that no iteration made counts as empty too.
                let sizes = fact.shape.iter().map(|d| d.known().unwrap_or(0).max(0));
                (fact.dtype, sizes.map(|n| n as usize).collect())
            }
        };
        let axis = crate::fact::axis_index(op, axis, element.len() + 1)?;
        let mut shape = element;
        let inner: usize = shape[axis..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        shape.insert(axis, self.elements.len());
        let mut out = HostTensor::zeros(dtype, shape)?;
        let count = self.elements.len();
        for (i, element) in self.elements.iter().enumerate() {
            let rows = (0..outer).map(|o| (o * count + i) * inner);
            out.place(element, rows.flat_map(|at| at..at + inner))?;
        }
        Ok(out)
    }
}

/// The only element of input `i` as an integer, if the input is there.
pub(crate) fn single(inputs: Tensors<'_>, i: usize) -> Result<Option<i64>> {
    let Some(tensor) = inputs.opt(i) else {
        return Ok(None);
    };
    if tensor.len() != 1 || tensor.dtype().is_float() {
        let what = format!(
            "input {i} must be one integer or truth value, got {}{:?}",
            tensor.dtype(),
            tensor.shape()
        );
        return Err(inputs.error(what));
    }
    Ok(tensor.to_i64()?.first().copied())
}
