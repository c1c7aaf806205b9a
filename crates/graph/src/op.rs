//! What an operator is. Each lives in one file of [`crate::ops`] and is listed once, in its `ops!`.

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::{Attrs, Fact, Result};
use std::fmt;
use std::sync::Arc;
use tilewright_device::ThreadSafe;
use tilewright_tensor::{DType, HostTensor};

/// One kind of computation: its attributes, inference, reference, device form and test cases.
pub trait Operator: Clone + fmt::Debug + Sized {
    /// The names it goes by; ONNX's where there is one. A family of pointwise functions has several.
    const NAMES: &'static [&'static str];

    /// The name of this very operator, one of `NAMES`.
    fn name(&self) -> &'static str {
        Self::NAMES[0]
    }

    /// Every attribute, in full: two operators with the same name and attributes do the same.
    fn attrs(&self) -> Attrs;

    /// The operator `name` (one of `NAMES`) with these attributes; defaults as in the newest ONNX opset.
    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self>;

    /// Types and shapes of all outputs, also of optional ones.
    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>>;

    /// The outputs, computed by plain loops from the formula: oracle, constant folder and host executor in one.
    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>>;

    /// Where the node runs. The default is the host; it is listed in the coverage.
    fn place(&self, _: &Placing<'_>) -> Place {
        Place::host("no kernel yet")
    }

    /// Emits the dispatches of a node that [`Operator::place`] put on the device. Sizes are plain numbers here.
    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        Err(cx.error("no device form"))
    }

    /// True if elements of input `i` reach the outputs unchanged: inference then follows symbolic sizes through it.
    fn moves(&self, _input: usize) -> bool {
        false
    }

    /// About how many steps the reference takes: multiply-adds, or elements touched. `outputs` is empty where their
    /// shapes depend on the data. Operators that touch elements more than a few times say so here.
    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        touched(inputs, outputs)
    }

    /// False for what must not be computed ahead of time (heavy products, random numbers, sources).
    fn folds(&self) -> bool {
        true
    }

    /// True if lowering takes [`Lower::epilogue`]: pointwise functions of output 0 can be fused to it.
    fn fuses(&self) -> bool {
        false
    }

    /// True if lowering takes [`Lower::emit_ended`]: pointwise functions of output 0 that keep its type can be fused to it.
    fn ends(&self) -> bool {
        false
    }

    /// True if lowering takes this operand, where it is f16, as it lies. Others are handed to it as f32, by a cast before or
    /// after.
    fn half(&self, _: Operand) -> bool {
        false
    }

    /// How the node is computed where one binding of the adapter does not hold its tensors.
    fn blocks(&self, _: &Placing<'_>) -> Blocks {
        Blocks::none()
    }

    /// Examples that drive every generic test: reference against inference, device against reference.
    fn cases() -> Vec<Case> {
        vec![]
    }
}

/// An input or an output of a node, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// An input.
    Input(usize),
    /// An output.
    Output(usize),
}

/// Elements of all inputs and outputs.
pub(crate) fn touched(inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
    let inputs = (0..inputs.len()).filter_map(|i| inputs.opt(i));
    inputs
        .chain(outputs)
        .fold(0, |sum, fact| sum.saturating_add(fact.count()))
}

/// [`touched`], and `each` steps for every element of output 0.
pub(crate) fn per_output(inputs: Facts<'_>, outputs: &[Fact], each: u64) -> u64 {
    let made = outputs.first().map_or(0, Fact::count);
    touched(inputs, outputs).saturating_add(made.saturating_mul(each))
}

/// [`per_output`] where each element meets the weights of its output channel; input `weight` has these outermost.
pub(crate) fn per_weight(inputs: Facts<'_>, outputs: &[Fact], weight: usize) -> u64 {
    let each = inputs
        .opt(weight)
        .map_or(0, |w| w.count() / w.extent(0).max(1));
    per_output(inputs, outputs, each)
}

/// [`Operator::work`] of matrix products: the last axis of input 0 for each element of the output.
pub(crate) fn per_product(inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
    let inner = inputs
        .opt(0)
        .map_or(0, |a| a.extent(a.rank().saturating_sub(1)));
    per_output(inputs, outputs, inner)
}

/// An operator with inputs, for tests.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The operator.
    pub op: crate::Op,
    /// Its inputs.
    pub inputs: Vec<Option<HostTensor>>,
    /// Inputs that are constants of the graph (axes, shapes, weights) and not fed at run time.
    pub constant: Vec<usize>,
    /// Bound on the normalised mean squared error of float outputs, device against reference.
    pub nmse: f64,
}

impl Case {
    /// A case in f32 with the usual bound: 1e-10 is a relative error of 1e-5, a few roundings of sums.
    pub fn new(name: &str, op: impl Into<crate::Op>, inputs: Vec<HostTensor>) -> Case {
        Case {
            name: name.into(),
            op: op.into(),
            inputs: inputs.into_iter().map(Some).collect(),
            constant: vec![],
            nmse: 1e-10,
        }
    }

    /// With optional inputs left out.
    pub fn with_optional(
        name: &str,
        op: impl Into<crate::Op>,
        inputs: Vec<Option<HostTensor>>,
    ) -> Case {
        Case {
            inputs,
            ..Case::new(name, op, vec![])
        }
    }

    /// States that these inputs are constants.
    #[must_use]
    pub fn constant(self, inputs: &[usize]) -> Case {
        Case {
            constant: inputs.to_vec(),
            ..self
        }
    }

    /// The same with f16 in the place of f32; none where there is no f32, or the operator takes no f16.
    #[must_use]
    pub fn halved(&self) -> Option<Case> {
        let mut case = self.clone();
        let single = |t: &&mut HostTensor| t.dtype() == DType::F32;
        let mut any = false;
        for t in case.inputs.iter_mut().flatten().filter(single) {
            *t = t.cast(DType::F16).ok()?;
            any = true;
        }
        // Programs of fused functions name types.
        let attrs = case.op.attrs();
        if let Ok(Some(code)) = attrs.opt::<String>("code") {
            let half = |text: String| text.replace("f32", "f16");
            let inputs: String = attrs.need("inputs").ok()?;
            let attrs = attrs.with("code", half(code)).with("inputs", half(inputs));
            case.op = crate::Op::from_name(case.op.name(), &attrs).ok()?;
        }
        let args: Vec<Option<&HostTensor>> = case.inputs.iter().map(Option::as_ref).collect();
        (any && case.op.reference(&args).is_ok()).then_some(case)
    }

    /// With another error bound.
    #[must_use]
    pub fn nmse(self, nmse: f64) -> Case {
        Case { nmse, ..self }
    }
}

/// An operator from outside this crate: the methods of [`Operator`], on values instead of types. A model's reader is told of it
/// by (domain, name). `docs/add-an-op.md` has an example.
pub trait CustomOp: fmt::Debug + ThreadSafe {
    /// Its name, with the domain: `domain:Name`. Two custom operators with the same name and attributes do the same.
    fn name(&self) -> &'static str;
    /// See [`Operator::attrs`].
    fn attrs(&self) -> Attrs;
    /// See [`Operator::infer`].
    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>>;
    /// See [`Operator::reference`].
    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>>;
    /// See [`Operator::place`].
    fn place(&self, _: &Placing<'_>) -> Place {
        Place::host("custom operator without a kernel")
    }
    /// See [`Operator::lower`].
    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        Err(cx.error("no device form"))
    }
    /// See [`Operator::moves`].
    fn moves(&self, _input: usize) -> bool {
        false
    }
    /// See [`Operator::work`].
    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        touched(inputs, outputs)
    }
    /// See [`Operator::folds`].
    fn folds(&self) -> bool {
        true
    }
    /// See [`Operator::fuses`].
    fn fuses(&self) -> bool {
        false
    }
    /// See [`Operator::ends`].
    fn ends(&self) -> bool {
        false
    }
    /// See [`Operator::half`].
    fn half(&self, _: Operand) -> bool {
        false
    }
    /// See [`Operator::blocks`].
    fn blocks(&self, _: &Placing<'_>) -> Blocks {
        Blocks::none()
    }
}

/// Makes the enum of all operators and its dispatch. The only place to name a new operator.
macro_rules! ops {
    ($($module:ident :: $ty:ident),* $(,)?) => {
        /// Every operator of this engine, and one variant for those from outside.
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($module), "::", stringify!($ty), "`].")] $ty($module::$ty),)*
            /// An operator from outside.
            Custom(Arc<dyn CustomOp>),
        }

        impl Op {
            /// The operator called `name` with these attributes.
            pub fn from_name(name: &str, attrs: &Attrs) -> Result<Op> {
                $(if $module::$ty::NAMES.contains(&name) {
                    return Ok(Op::$ty($module::$ty::from_attrs(name, attrs)?));
                })*
                Err(Error::UnknownOp { name: name.into() })
            }

            /// The names of all operators.
            pub fn names() -> Vec<&'static str> {
                [$($module::$ty::NAMES),*].concat()
            }

            /// The test cases of all operators.
            pub fn cases() -> Vec<Case> {
                let mut out = vec![];
                $(out.extend($module::$ty::cases());)*
                out
            }

            /// Its name.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$ty(op) => op.name(),)* Op::Custom(op) => op.name() }
            }

            /// See [`Operator::attrs`].
            pub fn attrs(&self) -> Attrs {
                match self { $(Op::$ty(op) => op.attrs(),)* Op::Custom(op) => op.attrs() }
            }

            /// See [`Operator::infer`].
            pub fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
                let inputs = Inputs::new(self.name(), inputs);
                match self { $(Op::$ty(op) => op.infer(inputs),)* Op::Custom(op) => op.infer(inputs) }
            }

            /// See [`Operator::reference`].
            pub fn reference(&self, inputs: &[Option<&HostTensor>]) -> Result<Vec<HostTensor>> {
                let inputs = Inputs::new(self.name(), inputs);
                match self { $(Op::$ty(op) => op.reference(inputs),)* Op::Custom(op) => op.reference(inputs) }
            }

            /// See [`Operator::place`].
            pub fn place(&self, cx: &Placing<'_>) -> Place {
                match self { $(Op::$ty(op) => op.place(cx),)* Op::Custom(op) => op.place(cx) }
            }

            /// See [`Operator::lower`].
            pub fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
                match self { $(Op::$ty(op) => op.lower(cx),)* Op::Custom(op) => op.lower(cx) }
            }

            /// See [`Operator::moves`].
            pub fn moves(&self, input: usize) -> bool {
                match self { $(Op::$ty(op) => op.moves(input),)* Op::Custom(op) => op.moves(input) }
            }

            /// See [`Operator::fuses`].
            pub fn fuses(&self) -> bool {
                match self { $(Op::$ty(op) => op.fuses(),)* Op::Custom(op) => op.fuses() }
            }

            /// See [`Operator::ends`].
            pub fn ends(&self) -> bool {
                match self { $(Op::$ty(op) => op.ends(),)* Op::Custom(op) => op.ends() }
            }

            /// See [`Operator::half`].
            pub fn half(&self, operand: crate::Operand) -> bool {
                match self { $(Op::$ty(op) => op.half(operand),)* Op::Custom(op) => op.half(operand) }
            }

            /// See [`Operator::blocks`].
            pub fn blocks(&self, cx: &Placing<'_>) -> Blocks {
                match self { $(Op::$ty(op) => op.blocks(cx),)* Op::Custom(op) => op.blocks(cx) }
            }

            /// See [`Operator::work`].
            pub fn work(&self, inputs: &[Option<&Fact>], outputs: &[Fact]) -> u64 {
                let inputs = Inputs::new(self.name(), inputs);
                match self { $(Op::$ty(op) => op.work(inputs, outputs),)* Op::Custom(op) => op.work(inputs, outputs) }
            }

            /// See [`Operator::folds`].
            pub fn folds(&self) -> bool {
                match self { $(Op::$ty(op) => op.folds(),)* Op::Custom(op) => op.folds() }
            }
        }

        $(impl From<$module::$ty> for Op {
            fn from(op: $module::$ty) -> Op { Op::$ty(op) }
        })*
    };
}
pub(crate) use ops;

impl crate::Op {
    /// The graphs that it holds: branches and bodies.
    pub(crate) fn graphs(&self) -> Vec<Arc<crate::Graph>> {
        let attrs = self.attrs();
        let graph = |(_, attr): (&str, &crate::Attr)| match attr {
            crate::Attr::Graph(graph) => Some(graph.clone()),
            _ => None,
        };
        attrs.iter().filter_map(graph).collect()
    }
}

impl PartialEq for crate::Op {
    fn eq(&self, other: &crate::Op) -> bool {
        // One from outside may be registered in the place of the engine's own.
        let custom = |op: &crate::Op| matches!(op, crate::Op::Custom(_));
        self.name() == other.name()
            && custom(self) == custom(other)
            && self.attrs() == other.attrs()
    }
}

impl Eq for crate::Op {}

impl std::hash::Hash for crate::Op {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        self.name().hash(h);
        self.attrs().hash(h);
    }
}

/// A shared custom operator as an [`crate::Op`].
impl From<Arc<dyn CustomOp>> for crate::Op {
    fn from(op: Arc<dyn CustomOp>) -> crate::Op {
        crate::Op::Custom(op)
    }
}
