//! Nodes with tensors that are larger than a binding may be. Either the lowering binds such a tensor in pieces, or the node is
//! lowered for one block of rows after the other.

use crate::fact::Facts;
use crate::half;
use crate::lower::{Lower, Placing, storage};
use crate::op::Operand;
use crate::{Fact, Op, Result};
use std::ops::Range;
use tilewright_device::{Limits, Span};
use tilewright_kernels::{Store, View};
use tilewright_tensor::DType;

/// The most blocks of a node: of bindings of 128 MiB, far more than any device holds.
const MOST_BLOCKS: usize = 4096;

/// What a block of rows needs of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// The input broadcasts against output 0 as in NumPy: the rows that meet those of the block.
    Broadcast,
    /// Its leading axes are those of output 0: the same rows.
    Leading,
    /// All of it.
    Whole,
    /// All of it, and lowering binds it in pieces where one binding does not hold it.
    Pieces,
}

/// How a node is computed where one binding does not hold its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// That many leading axes of the outputs can be cut: what their indices count is a row, which needs no other row. 0 where none can.
    pub axes: usize,
    /// What rows need of the first inputs.
    pub inputs: Vec<Along>,
    /// What they need of further ones.
    pub rest: Along,
    /// Whether lowering writes outputs in pieces where one binding does not hold them.
    pub pieces: bool,
}

impl Blocks {
    /// Rows along `axes` leading axes of the outputs.
    pub fn rows(axes: usize, inputs: impl Into<Vec<Along>>) -> Blocks {
        let inputs = inputs.into();
        Blocks {
            axes,
            inputs,
            rest: Along::Whole,
            pieces: false,
        }
    }

    /// Not at all: every tensor must fit.
    pub fn none() -> Blocks {
        Blocks::rows(0, [])
    }

    /// Elements that need no other elements than those they broadcast with.
    pub fn pointwise(outputs: &[Fact]) -> Blocks {
        let rank = outputs.first().map_or(0, Fact::rank);
        Blocks {
            rest: Along::Broadcast,
            ..Blocks::rows(rank, [])
        }
    }

    /// Rows of outputs and of input 0 that `axes` leading axes count; other inputs are needed whole.
    pub fn leading(axes: usize) -> Blocks {
        Blocks::rows(axes, [Along::Leading])
    }

    /// Rows before an axis of input 0, which counts from the end where it is negative.
    pub fn before(cx: &Placing<'_>, axis: i64) -> Blocks {
        let rank = cx.inputs.opt(0).map_or(0, Fact::rank) as i64;
        let axis = if axis < 0 { axis + rank } else { axis };
        Blocks::leading(usize::try_from(axis.min(rank)).unwrap_or(0))
    }

    /// Lowering copies elements, in pieces where it has to; but a constant is uploaded as one.
    pub fn copies(cx: &Placing<'_>) -> Blocks {
        let constant = |i| cx.inputs.opt(i).is_some_and(|f| f.weight().is_some());
        let along = |i| match constant(i) {
            true => Along::Whole,
            false => Along::Pieces,
        };
        Blocks {
            inputs: (0..cx.inputs.len()).map(along).collect(),
            pieces: true,
            ..Blocks::none()
        }
    }

    fn along(&self, input: usize) -> Along {
        self.inputs.get(input).copied().unwrap_or(self.rest)
    }
}

/// A tensor with plain sizes.
struct Tensor {
    shape: Vec<usize>,
    /// Bytes of an element as stored, and as kernels bind it.
    each: [u64; 2],
}

impl Tensor {
    fn over(&self, limit: u64) -> bool {
        let elements = self.shape.iter().map(|&n| n as u64);
        elements.fold(self.each[1], u64::saturating_mul) > limit
    }

    fn row(&self, axes: usize) -> u64 {
        let elements = self.shape[axes..].iter().map(|&n| n as u64);
        elements.fold(1, u64::saturating_mul)
    }
}

/// Bytes of an element of an operand, as stored and as bound. What a kernel does not take in f16 is cast to f32 for it.
fn each(op: &Op, operand: Operand, dtype: DType, cx: &Placing<'_>) -> [u64; 2] {
    match storage(dtype, cx.caps) {
        Some(Store::F16) if op.half(operand) => [2, 2],
        Some(Store::F16) => [2, 4],
        _ => [4, 4],
    }
}

/// A node cut into blocks.
struct Cut {
    axes: usize,
    /// How many rows there are, and in a block.
    rows: usize,
    block: usize,
    /// Which inputs are cut.
    inputs: Vec<bool>,
}

impl Cut {
    /// The coarsest rows of which blocks fit; `first` is the shape of output 0.
    fn new(
        blocks: &Blocks,
        first: &[usize],
        inputs: &[Option<Tensor>],
        outputs: &[Option<Tensor>],
        limits: &Limits,
    ) -> Option<Cut> {
        let most = blocks.axes.min(first.len());
        (1..=most).find_map(|axes| {
            let lead = &first[..axes];
            let mut cut = Cut {
                axes,
                rows: lead.iter().product(),
                block: 0,
                inputs: vec![],
            };
            // Blocks begin where bindings may begin.
            let (mut most, mut step) = (u64::MAX, 1);
            let mut narrow = |tensor: &Tensor| {
                let row = tensor.row(axes);
                let [stored, bound] = tensor.each.map(|each| row.saturating_mul(each).max(1));
                let align = u64::from(limits.storage_align);
                step = lcm(step, align / gcd(stored, align));
                most = most.min(limits.binding_bytes / bound);
            };
            for output in outputs.iter().flatten() {
                if output.shape.get(..axes) != Some(lead) {
                    return None;
                }
                narrow(output);
            }
            for (i, input) in inputs.iter().enumerate() {
                let cuts = match input {
                    Some(tensor) => cuts(tensor, blocks.along(i), lead, first.len(), limits)?,
                    None => false,
                };
                if let (true, Some(tensor)) = (cuts, input) {
                    narrow(tensor);
                }
                cut.inputs.push(cuts);
            }
            cut.block = usize::try_from(most / step * step).ok()?;
            (cut.block > 0 && cut.block < cut.rows).then_some(cut)
        })
    }

    /// The rows of a view.
    fn narrow(&self, view: &View, rows: &Range<usize>) -> View {
        let each = view.store.bytes(&view.shape[self.axes..]);
        let mut shape = view.shape.clone();
        shape[..self.axes].fill(1);
        shape[self.axes - 1] = rows.len();
        View {
            span: Span {
                offset: view.span.offset + rows.start as u64 * each,
                bytes: rows.len() as u64 * each,
                ..view.span
            },
            shape,
            ..view.clone()
        }
    }
}

/// Whether a block has its own rows of an input; none where blocks cannot be.
fn cuts(
    tensor: &Tensor,
    along: Along,
    lead: &[usize],
    rank: usize,
    limits: &Limits,
) -> Option<bool> {
    match along {
        Along::Leading => (tensor.shape.get(..lead.len()) == Some(lead)).then_some(true),
        Along::Pieces => Some(false),
        Along::Whole => (!tensor.over(limits.binding_bytes)).then_some(false),
        Along::Broadcast => {
            let missing = rank.checked_sub(tensor.shape.len())?;
            let at = |axis: usize| axis.checked_sub(missing).map_or(1, |i| tensor.shape[i]);
            let own: Vec<usize> = (0..lead.len()).map(at).collect();
            if own.iter().all(|&n| n == 1) {
                return (!tensor.over(limits.binding_bytes)).then_some(false);
            }
            (missing == 0 && own == lead).then_some(true)
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn lcm(a: u64, b: u64) -> u64 {
    a / gcd(a, b) * b
}

/// Why the device cannot run a node as far as sizes are known: its tensors are over the limit of a binding, and it has no
/// blocks. `read` says which outputs are read: others have no place.
pub(crate) fn gap(op: &Op, cx: &Placing<'_>, read: impl Fn(usize) -> bool) -> Option<String> {
    let limit = cx.caps.limits.binding_bytes;
    let bytes = |fact: &Fact, operand| {
        let elements = u64::try_from(fact.elements().known()?).ok()?;
        elements.checked_mul(each(op, operand, fact.dtype, cx)[1])
    };
    let is_over = |fact: &Fact, operand| bytes(fact, operand).is_some_and(|n| n > limit);
    let inputs = (0..cx.inputs.len()).filter_map(|i| {
        let fact = cx.inputs.opt(i)?;
        is_over(fact, Operand::Input(i)).then_some((fact, Some(i)))
    });
    let outputs = (0..).zip(cx.outputs);
    let outputs = outputs.filter(|(i, fact)| read(*i) && is_over(fact, Operand::Output(*i)));
    let mut over = inputs
        .chain(outputs.map(|(_, fact)| (fact, None)))
        .peekable();
    over.peek()?;
    let blocks = op.blocks(cx);
    let in_pieces = |input: Option<usize>| match input {
        Some(i) => blocks.along(i) == Along::Pieces,
        None => blocks.pieces,
    };
    let (fact, _) = over.find(|(_, input)| !in_pieces(*input))?;
    let possible = match sized(op, cx, &read) {
        Some((first, inputs, outputs)) => {
            Cut::new(&blocks, &first, &inputs, &outputs, &cx.caps.limits).is_some()
        }
        None => blocks.axes > 0,
    };
    let (dtype, shape) = (fact.dtype, &fact.shape);
    (!possible).then(|| format!("{dtype}{shape:?} is over the binding limit of {limit} bytes"))
}

/// The shape of output 0, the inputs, and the outputs that are read; none where a size is not known.
type Sized = (Vec<usize>, Vec<Option<Tensor>>, Vec<Option<Tensor>>);

fn sized(op: &Op, cx: &Placing<'_>, read: &dyn Fn(usize) -> bool) -> Option<Sized> {
    let tensor = |fact: &Fact, operand| {
        Some(Tensor {
            shape: fact.known_shape()?,
            each: each(op, operand, fact.dtype, cx),
        })
    };
    let first = cx.outputs.first()?.known_shape()?;
    let mut inputs = vec![];
    for i in 0..cx.inputs.len() {
        inputs.push(match cx.inputs.opt(i) {
            Some(fact) => Some(tensor(fact, Operand::Input(i))?),
            None => None,
        });
    }
    let mut outputs = vec![];
    for (i, fact) in cx.outputs.iter().enumerate() {
        outputs.push(match read(i) {
            true => Some(tensor(fact, Operand::Output(i))?),
            false => None,
        });
    }
    Some((first, inputs, outputs))
}

/// Lowers a node of these facts, by blocks of rows where it has to be.
pub(crate) fn lower(
    op: &Op,
    given: &[Option<Fact>],
    made: &[Fact],
    cx: &mut Lower<'_>,
) -> Result<()> {
    match cut(op, given, made, cx) {
        Some(cut) => by_rows(op, &cut, cx),
        None => half::lower(op, cx),
    }
}

/// How a node is cut, if it has to be and can be. What is too large without it is an error of the plan.
fn cut(op: &Op, given: &[Option<Fact>], made: &[Fact], cx: &Lower<'_>) -> Option<Cut> {
    // Nothing is stored in more bytes.
    let large = |view: &(View, DType)| {
        4u64.saturating_mul(view.0.elements() as u64) > cx.caps.limits.binding_bytes
    };
    let views = cx.inputs.iter().chain(&cx.outputs);
    if !views.flatten().any(large) {
        return None;
    }
    let given: Vec<Option<&Fact>> = given.iter().map(Option::as_ref).collect();
    let placing = Placing {
        inputs: Facts::new(op.name(), &given),
        outputs: made,
        caps: cx.caps,
    };
    let read = |i: usize| cx.outputs.get(i).is_some_and(Option::is_some);
    let (first, inputs, outputs) = sized(op, &placing, &read)?;
    let blocks = op.blocks(&placing);
    let limit = cx.caps.limits.binding_bytes;
    let over = |tensor: &Option<Tensor>| tensor.as_ref().is_some_and(|t| t.over(limit));
    let mut stuck = (0..)
        .zip(&inputs)
        .filter(|(i, _)| blocks.along(*i) != Along::Pieces);
    if !stuck.any(|(_, t)| over(t)) && (blocks.pieces || !outputs.iter().any(over)) {
        return None;
    }
    Cut::new(&blocks, &first, &inputs, &outputs, &cx.caps.limits)
}

fn by_rows(op: &Op, cut: &Cut, cx: &mut Lower<'_>) -> Result<()> {
    let limit = cx.caps.limits.binding_bytes;
    let count = cut.rows.div_ceil(cut.block);
    if count > MOST_BLOCKS {
        let what = format!("{count} blocks of rows that fit a binding, at most {MOST_BLOCKS}");
        return Err(cx.error(what));
    }
    for start in (0..cut.rows).step_by(cut.block) {
        let rows = start..(start + cut.block).min(cut.rows);
        let (mut inputs, mut constants) = (vec![], cx.constants.clone());
        for i in 0..cx.inputs.len() {
            let Some((view, dtype)) = cx.inputs[i].clone().filter(|_| cut.inputs[i]) else {
                inputs.push(cx.inputs[i].clone());
                continue;
            };
            let whole = cx.weight(i).is_none() || view.span.bytes <= limit;
            let narrow = match whole {
                true => cut.narrow(&view, &rows),
                false => View {
                    shape: cut.narrow(&view, &rows).shape,
                    ..cx.constant_rows(i, cut.axes, rows.clone())?
                },
            };
            inputs.push(Some((narrow, dtype)));
            constants[i] = None;
        }
        let narrow = |(view, dtype): &(View, DType)| (cut.narrow(view, &rows), *dtype);
        let outputs = cx.outputs.iter().map(|o| o.as_ref().map(narrow)).collect();
        let begin = cx.slots.len();
        let mut part = Lower {
            op: cx.op,
            caps: cx.caps,
            inputs,
            constants,
            outputs,
            slots: &mut *cx.slots,
            derived: cx.derived,
            emitted: vec![],
            epilogue: None,
            choices: cx.choices,
            outlook: cx.outlook,
            chosen: std::mem::take(&mut cx.chosen),
            held: std::mem::take(&mut cx.held),
            spare: std::mem::take(&mut cx.spare),
        };
        half::lower(op, &mut part)?;
        let Lower {
            emitted,
            chosen,
            held,
            spare,
            ..
        } = part;
        (cx.chosen, cx.held, cx.spare) = (chosen, held, spare);
        cx.emitted.extend(emitted);
        cx.free(begin);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize]) -> Option<Tensor> {
        let shape = shape.to_vec();
        Some(Tensor {
            shape,
            each: [4, 4],
        })
    }

    /// Axes, rows of a block, and which inputs are cut, on a limit of so many bytes.
    fn cut(
        blocks: &Blocks,
        inputs: &[&[usize]],
        y: &[usize],
        bytes: u64,
    ) -> Option<(usize, usize, Vec<bool>)> {
        let mut limits = Limits::webgpu_default();
        limits.binding_bytes = bytes;
        let inputs: Vec<_> = inputs.iter().map(|s| tensor(s)).collect();
        let cut = Cut::new(blocks, y, &inputs, &[tensor(y)], &limits)?;
        Some((cut.axes, cut.block, cut.inputs))
    }

    fn pointwise(rank: usize) -> Blocks {
        Blocks::pointwise(&[Fact::sized(DType::F32, &vec![2; rank])])
    }

    #[test]
    fn blocks_begin_where_bindings_may() {
        // Rows of 132 bytes: only every 64th begins at a multiple of 256.
        let of = |bytes| cut(&pointwise(2), &[&[1000, 33], &[33]], &[1000, 33], bytes);
        assert_eq!(of(132 * 200), Some((1, 192, vec![true, false])));
        assert_eq!(of(132 * 64), Some((1, 64, vec![true, false])));
        // A row of less is every element alone, which the bias does not allow.
        assert_eq!(of(132 * 63), None);
        let alone = cut(&pointwise(2), &[&[1000, 33]], &[1000, 33], 132 * 63);
        assert_eq!(alone, Some((2, 2048, vec![true])));
    }

    #[test]
    fn inputs_that_broadcast_are_whole_or_cut() {
        let y = [64, 4, 64];
        let of = |x: &[usize]| cut(&pointwise(3), &[&y, x], &y, 16 << 10);
        assert_eq!(of(&[64, 1, 64]), Some((1, 16, vec![true, true])));
        assert_eq!(of(&[4, 64]), Some((1, 16, vec![true, false])));
        assert_eq!(of(&[]), Some((1, 16, vec![true, false])));
        // What is whole must fit.
        assert_eq!(
            cut(&pointwise(2), &[&[2, 8192], &[8192]], &[2, 8192], 16 << 10),
            None
        );
    }

    #[test]
    fn what_lowering_binds_in_pieces_may_be_of_any_size() {
        let shapes: [&[usize]; 2] = [&[100, 64], &[64, 1 << 20]];
        let of = |right| {
            cut(
                &Blocks::rows(1, [Along::Leading, right]),
                &shapes,
                &[100, 1 << 20],
                64 << 20,
            )
        };
        assert_eq!(of(Along::Pieces), Some((1, 16, vec![true, false])));
        assert_eq!(of(Along::Whole), None);
    }
}
