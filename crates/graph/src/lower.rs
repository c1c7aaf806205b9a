//! From a node with plain sizes to dispatches: what an operator sees when it is placed and lowered.

use crate::convert::to_device;
use crate::fact::Facts;
use crate::{Error, Fact, Op, Result, Weight};
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use tilewright_device::{Caps, Dispatch, Slot};
use tilewright_kernels::{
    Choices, Chosen, Epilogue, Function, Outlook, Store, Target, View, map_ending, map_epilogue,
};
use tilewright_tensor::{DType, HostTensor};

pub use crate::derived::Derived;

/// Where a node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By dispatches.
    Device,
    /// Nowhere: output 0 is input 0 under another shape.
    Alias,
    /// By its reference on the host, for this reason.
    Host(Cow<'static, str>),
}

impl Place {
    /// On the host, because of `reason`.
    pub fn host(reason: impl Into<Cow<'static, str>>) -> Place {
        Place::Host(reason.into())
    }
}

/// What is known when a node is placed: facts (sizes may be symbolic) and the adapter.
#[derive(Debug)]
pub struct Placing<'a> {
    /// Facts of the inputs.
    pub inputs: Facts<'a>,
    /// Facts of the outputs.
    pub outputs: &'a [Fact],
    /// The adapter.
    pub caps: &'a Caps,
}

impl Placing<'_> {
    /// `Device` if every input and output has a device storage ([`storage`]: f32, f16, booleans, integers of up to 32 bits and
    /// int64), else the host with the type as reason. It does not ask what the kernel computes: one that reads `array<f32>`
    /// would read the bits of integers, and wants [`Placing::floats_only`].
    pub fn by_storage(&self) -> Place {
        let inputs = (0..self.inputs.len()).filter_map(|i| self.inputs.opt(i));
        place_by(inputs, self.outputs)
    }

    /// Like [`Placing::by_storage`], but only these inputs and output 0 are read or written on the device.
    pub fn by_storage_of(&self, inputs: &[usize]) -> Place {
        let inputs = inputs.iter().filter_map(|&i| self.inputs.opt(i));
        place_by(inputs, &self.outputs[..self.outputs.len().min(1)])
    }

    /// [`Placing::by_storage`] where input 0 is f32 or f16, else the host. The types of other inputs are for `infer` to check.
    pub fn floats_only(&self) -> Place {
        match self.inputs.opt(0) {
            Some(f) if !matches!(f.dtype, DType::F32 | DType::F16) => {
                Place::host(format!("no kernel for {}", f.dtype))
            }
            _ => self.by_storage(),
        }
    }
}

/// Where a node of these facts runs; an input has none if it was left out.
pub(crate) fn place(op: &Op, inputs: &[Option<&Fact>], outputs: &[Fact], caps: &Caps) -> Place {
    op.place(&Placing {
        inputs: Facts::new(op.name(), inputs),
        outputs,
        caps,
    })
}

fn place_by<'a>(inputs: impl Iterator<Item = &'a Fact>, outputs: &[Fact]) -> Place {
    let narrow = i64::from(i32::MIN)..=i64::from(i32::MAX);
    for (fact, read) in inputs
        .map(|f| (f, true))
        .chain(outputs.iter().map(|f| (f, false)))
    {
        if !is_stored(fact.dtype) {
            return Place::host(format!("{} has no device storage", fact.dtype));
        }
        // What a run brings is checked when it is uploaded; what is known to be too large never gets there.
        let fits = |(low, high)| narrow.contains(&low) && narrow.contains(&high);
        if read && fact.dtype == DType::I64 && !fact.range().is_none_or(fits) {
            return Place::host("int64 values pass 32 bits");
        }
    }
    Place::Device
}

/// Device storage of a data type: narrow integers and booleans are widened; f16 is kept in f32 where the adapter has no f16;
/// 64-bit integers are narrowed with a check on upload. None for what stays on the host.
pub fn storage(dtype: DType, caps: &Caps) -> Option<Store> {
    match dtype {
        DType::F16 if caps.f16 => Some(Store::F16),
        DType::F32 | DType::F16 => Some(Store::F32),
        DType::I64 | DType::I32 | DType::I16 | DType::I8 => Some(Store::I32),
        DType::U32 | DType::U16 | DType::U8 | DType::Bool => Some(Store::U32),
        _ => None,
    }
}

/// Whether devices store the type in some form.
pub fn is_stored(dtype: DType) -> bool {
    // Whether a type is stored does not depend on the adapter, only how.
    storage(dtype, &Caps::webgpu_default()).is_some()
}

/// Bytes of a tensor on the device, as copies count them: in words of four.
pub(crate) fn stored_bytes(dtype: DType, shape: &[usize], caps: &Caps) -> u64 {
    let sizes = shape.iter();
    let elements = sizes.fold(1, |n: u64, &d| n.saturating_mul(d as u64));
    match storage(dtype, caps) {
        Some(Store::F16) => elements.saturating_mul(2).saturating_add(3) & !3,
        _ => elements.saturating_mul(4),
    }
}

/// What the slots of a segment are. Slot numbers are indices into it.
#[derive(Clone, Debug)]
pub enum SlotUse {
    /// In the arena: a value of the graph (an activation, an input) or scratch.
    Arena {
        /// Bytes.
        bytes: u64,
    },
    /// A constant in a buffer of its own.
    Constant(Weight),
    /// A state, by index, in a buffer of its own.
    State(usize),
    /// The same place as another slot.
    Alias(Slot),
}

/// A node being lowered: its inputs and outputs as views with plain sizes, and the dispatches it emits.
#[derive(Debug)]
pub struct Lower<'a> {
    pub(crate) op: &'static str,
    pub(crate) caps: &'a Caps,
    pub(crate) choices: &'a Choices,
    pub(crate) outlook: Outlook,
    pub(crate) chosen: RefCell<Vec<Chosen>>,
    pub(crate) inputs: Vec<Option<(View, DType)>>,
    pub(crate) constants: Vec<Option<Weight>>,
    pub(crate) outputs: Vec<Option<(View, DType)>>,
    pub(crate) slots: &'a mut Vec<SlotUse>,
    pub(crate) derived: &'a Derived,
    pub(crate) emitted: Vec<Dispatch>,
    /// What a fused node does to the product, until its product takes it.
    pub(crate) epilogue: Option<(Function, Vec<View>)>,
    /// Large constants that were loaded to make forms of them: the next form of the node does not load them again.
    pub(crate) held: Vec<HostTensor>,
    /// Scratch that nothing reads any more.
    pub(crate) spare: Vec<Slot>,
}

impl Lower<'_> {
    /// The adapter.
    pub fn caps(&self) -> &Caps {
        self.caps
    }

    /// The adapter with what is known of its loops: what products are chosen for.
    pub fn target(&self) -> Target<'_> {
        Target {
            caps: self.caps,
            choices: self.choices,
            outlook: self.outlook,
            chosen: Some(&self.chosen),
        }
    }

    /// An error of this operator.
    pub fn error(&self, what: impl Into<String>) -> Error {
        Error::op(self.op, what)
    }

    /// How many inputs there are, left-out ones included.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Input `i` on the device; an error if it was left out.
    pub fn input(&self, i: usize) -> Result<View> {
        self.opt_input(i)
            .ok_or_else(|| self.error(format!("input {i} is missing")))
    }

    /// Input `i` on the device, if it was not left out.
    pub fn opt_input(&self, i: usize) -> Option<View> {
        self.inputs.get(i)?.as_ref().map(|(v, _)| v.clone())
    }

    /// The data type of input `i` in the graph.
    pub fn input_dtype(&self, i: usize) -> Option<DType> {
        self.inputs.get(i)?.as_ref().map(|(_, d)| *d)
    }

    /// Output `i`; an error if nobody reads it.
    pub fn output(&self, i: usize) -> Result<View> {
        self.opt_output(i)
            .ok_or_else(|| self.error(format!("output {i} is not used")))
    }

    /// Output `i`, if anybody reads it.
    pub fn opt_output(&self, i: usize) -> Option<View> {
        self.outputs.get(i)?.as_ref().map(|(v, _)| v.clone())
    }

    /// The data type of output `i` in the graph.
    pub fn output_dtype(&self, i: usize) -> Option<DType> {
        self.outputs.get(i)?.as_ref().map(|(_, d)| *d)
    }

    /// Input `i` as a constant, if it is one.
    pub fn weight(&self, i: usize) -> Option<&Weight> {
        self.constants.get(i)?.as_ref()
    }

    /// The data of input `i`, if it is a constant. Large ones may be read from a file here, whenever sizes are bound: use
    /// [`Lower::derived`] for those.
    ///
    /// # Errors
    /// Those of [`Weight::load`].
    pub fn constant(&self, i: usize) -> Result<Option<HostTensor>> {
        self.weight(i).map(Weight::load).transpose()
    }

    /// The integers of the constant input `i`, if there is such an input.
    pub fn opt_ints(&self, i: usize) -> Result<Option<Vec<i64>>> {
        match (self.constant(i)?, self.inputs.get(i)) {
            (Some(t), _) => Ok(Some(t.to_i64()?)),
            (None, Some(Some(_))) => Err(self.error(format!("input {i} must be constant"))),
            _ => Ok(None),
        }
    }

    /// Space for intermediate results, live only within this node. What no binding holds is an [`Error::Limit`] of the plan.
    pub fn scratch(&mut self, store: Store, shape: impl Into<Vec<usize>>) -> View {
        let shape = shape.into();
        let bytes = store.bytes(&shape);
        let fits = |slot: &Slot| {
            let SlotUse::Arena { bytes: held } = self.slots[slot.0 as usize] else {
                return false;
            };
            bytes <= held && held <= bytes.saturating_mul(2)
        };
        let slot = match self.spare.iter().position(fits) {
            Some(at) => self.spare.swap_remove(at),
            None => self.slot(SlotUse::Arena { bytes }),
        };
        View::new(slot, store, shape)
    }

    /// Scratch in the slots from `first` on is free for what is emitted from now on.
    pub(crate) fn free(&mut self, first: usize) {
        let slots = (first..self.slots.len()).map(|i| Slot(i as u32));
        let scratch = |s: &Slot| matches!(self.slots[s.0 as usize], SlotUse::Arena { .. });
        self.spare.extend(slots.filter(scratch));
    }

    /// Rows along axis 0 of input `i`: of a constant that one binding does not hold in a buffer of their own. `rows` begin where a
    /// binding may begin.
    pub(crate) fn rows_of(&mut self, i: usize, rows: Range<usize>) -> Result<View> {
        let input = self.input(i)?;
        let mut shape = input.shape.clone();
        shape[0] = rows.len();
        let limit = self.caps.limits.binding_bytes;
        if self.weight(i).is_some() && input.span.bytes > limit {
            let part = self.constant_rows(i, 1, rows)?;
            return Ok(View { shape, ..part });
        }
        let each = input.store.bytes(&input.shape[1..]);
        let mut span = input.span;
        span.offset += rows.start as u64 * each;
        span.bytes = rows.len() as u64 * each;
        Ok(View {
            span,
            shape,
            ..input
        })
    }

    /// Rows of the constant input `i`, as `axes` leading axes count them, in a buffer of their own.
    pub(crate) fn constant_rows(
        &mut self,
        i: usize,
        axes: usize,
        rows: Range<usize>,
    ) -> Result<View> {
        let (input, caps) = (self.input(i)?, self.caps);
        let dtype = match input.store {
            Store::F32 => DType::F32,
            Store::F16 => DType::F16,
            Store::I32 => DType::I32,
            _ => DType::U32,
        };
        self.derived(i, format!("rows {rows:?} of {axes} axes"), |t| {
            let row = t.shape()[axes..].iter().product::<usize>();
            let bytes = row * t.dtype().size_bytes();
            let part = &t.bytes()[rows.start * bytes..rows.end * bytes];
            let part = HostTensor::from_bytes(t.dtype(), vec![rows.len(), row], part)?;
            let stored = to_device(&part, "constant", caps)?;
            Ok(HostTensor::from_bytes(
                dtype,
                vec![rows.len(), row],
                &stored,
            )?)
        })
    }

    /// A tensor made once from the constant input `i` (packed weights). `key` names the form and everything it
    /// depends on but the tensor itself.
    pub fn derived(
        &mut self,
        i: usize,
        key: impl Into<Cow<'static, str>>,
        make: impl FnOnce(&HostTensor) -> Result<HostTensor>,
    ) -> Result<View> {
        self.derived_from(&[i], key, |sources| make(&sources[0]))
    }

    /// Like [`Lower::derived`], from several constant inputs, which `make` gets in this order.
    pub fn derived_from(
        &mut self,
        inputs: &[usize],
        key: impl Into<Cow<'static, str>>,
        make: impl FnOnce(&[HostTensor]) -> Result<HostTensor>,
    ) -> Result<View> {
        let constant = |&i: &usize| {
            let found = self.weight(i).cloned();
            found.ok_or_else(|| self.error(format!("input {i} must be constant")))
        };
        let sources = inputs.iter().map(constant).collect::<Result<Vec<_>>>()?;
        let limit = self.caps.limits.binding_bytes;
        let held = &mut self.held;
        let made = self.derived.get(&sources, key.into(), |loaded| {
            let large = loaded.iter().filter(|t| t.bytes().len() as u64 > limit);
            held.extend(large.cloned());
            make(loaded)
        })?;
        self.constant_slot(made)
    }

    /// A form of the constant input `i` with the same numbers in other places: `make` makes it in f32, and it is stored as
    /// the input is.
    pub fn packed(
        &mut self,
        i: usize,
        key: &str,
        make: impl FnOnce(&HostTensor) -> Result<HostTensor>,
    ) -> Result<View> {
        match self.input(i)?.store {
            Store::F16 => self.derived(i, format!("{key} f16"), |t| Ok(make(t)?.cast(DType::F16)?)),
            _ => self.derived(i, key.to_string(), make),
        }
    }

    /// A constant tensor of the node's own (an index table). F32, I32, U32, and F16 where the adapter has it.
    pub fn table(&mut self, tensor: HostTensor) -> Result<View> {
        self.constant_slot(Weight::until_uploaded(tensor))
    }

    fn constant_slot(&mut self, constant: Weight) -> Result<View> {
        let store = match constant.dtype() {
            DType::F16 if self.caps.f16 => Store::F16,
            DType::F32 => Store::F32,
            DType::I32 => Store::I32,
            DType::U32 => Store::U32,
            other => return Err(Error::Storage(other)),
        };
        let shape = constant.shape().to_vec();
        let slot = self.slot(SlotUse::Constant(constant));
        Ok(View::new(slot, store, shape))
    }

    /// The epilogue of a product: `own`, then what was fused to the node. `quads` says that the four elements that it sees
    /// begin at multiples of four in output 0. An operator that calls this says so by [`crate::Operator::fuses`].
    pub fn epilogue(&mut self, own: Option<Epilogue>, quads: bool) -> Result<Option<Epilogue>> {
        let Some((function, operands)) = self.epilogue.take() else {
            return Ok(own);
        };
        let out = self.output(0)?;
        let all = map_epilogue(self.caps, own, &function, &operands, &out, quads)?;
        Ok(Some(all))
    }

    /// Adds a reduction, a normalisation or a softmax, whose last dispatch writes output 0, with what was fused to the node at
    /// its end ([`tilewright_kernels::map_ending`]). An operator that calls this says so by [`crate::Operator::ends`].
    pub fn emit_ended(&mut self, mut dispatches: Vec<Dispatch>) -> Result<()> {
        if let Some((function, operands)) = self.epilogue.take() {
            let (out, last) = (self.output(0)?, dispatches.pop());
            let last = last.ok_or_else(|| self.error("nothing writes the output"))?;
            dispatches.push(map_ending(self.caps, last, &function, &operands, &out)?);
        }
        self.emit(dispatches);
        Ok(())
    }

    /// Adds dispatches, in order.
    pub fn emit(&mut self, dispatches: impl IntoIterator<Item = Dispatch>) {
        self.emitted.extend(dispatches);
    }

    pub(crate) fn slot(&mut self, slot: SlotUse) -> Slot {
        self.slots.push(slot);
        Slot((self.slots.len() - 1) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::{Bindings, Dim, Symbol};
    use crate::ops::Attention;
    use crate::stage::Schedule;
    use crate::{Graph, bind};

    /// Values too long for running sums, so that a matrix of 512 x 512 scores is the only way: twice as large as any operand.
    #[test]
    fn scratch_over_the_limit_of_a_binding_is_an_error_of_the_plan() {
        let mut graph = Graph::new();
        let mut input = |name, head: usize| {
            let shape = [1usize.into(), 1usize.into(), Dim::symbol("n"), head.into()];
            let fact = Fact::new(DType::F32, shape);
            graph.input(name, Some(fact)).unwrap()
        };
        let inputs = [input("q", 4), input("k", 4), input("v", 260)];
        let mut sizes = Bindings::default();
        sizes.set(Symbol::new("n"), 512);
        let y = graph.add(Attention::default(), &inputs).unwrap()[0];
        graph.output("y", y);
        let bound = |limit| {
            let mut caps = Caps::webgpu_default();
            caps.limits.binding_bytes = limit;
            let schedule = Schedule::new(&graph, Some(&caps)).unwrap();
            let derived = &Derived::default();
            bind::bind(&graph, &schedule, &sizes, &caps, derived)
        };
        let scores = 4 * 512 * 512;
        assert!(bound(scores).is_ok());
        let error = bound(scores - 1).unwrap_err();
        let (what, limit) = ("1048576 bytes of scratch".into(), scores - 1);
        let expected = Error::Limit { what, limit };
        assert!(error.to_string().contains(&expected.to_string()), "{error}");
    }
}
