//! Fused: a product, a reduction or a normalisation and the pointwise functions of its result, as one kernel; made by fusion.

use super::{
    Conv, ConvTranspose, Gemm, InstanceNormalization, LayerNormalization, Layout, MatMul, Softmax,
    SoftmaxKind, Window,
};
use crate::blocks::{Along, Blocks};
use crate::fact::{Facts, Inputs, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::point::{Program, Span, facts};
use crate::{Attrs, Error, Fact, Op, Result, samples};
use tilewright_tensor::HostTensor;

/// `program(op(inputs..), operands..)`: the first inputs are the operator's, the others the program's after its first.
///
/// Its attributes are the operator's, each with `op.` before its name, and those of [`super::Map`].
#[derive(Clone, Debug)]
pub struct Fused {
    op: Box<Op>,
    /// How many inputs the operator has, left-out ones included.
    count: usize,
    program: Program,
}

impl Fused {
    /// The program's first input is output 0 of `op`, which [`Op::fuses`] or [`Op::ends`].
    pub(crate) fn new(op: Op, count: usize, program: Program) -> Fused {
        Fused {
            op: Box::new(op),
            count,
            program,
        }
    }

    /// The operator's inputs and the program's other ones.
    fn split<'a, T>(&self, inputs: Inputs<'a, T>) -> Result<(Vec<Option<&'a T>>, Vec<&'a T>)> {
        let own = (0..self.count).map(|i| inputs.opt(i)).collect();
        let others = (self.count..inputs.len())
            .map(|i| inputs.req(i))
            .collect::<Result<Vec<_>>>()?;
        if others.len() + 1 != self.program.inputs.len() {
            let what = format!(
                "needs {} operands, got {}",
                self.program.inputs.len() - 1,
                others.len()
            );
            return Err(inputs.error(what));
        }
        Ok((own, others))
    }

    fn first<T>(&self, list: Vec<T>) -> Result<T> {
        let found = list.into_iter().next();
        found.ok_or_else(|| Error::op("Fused", format!("{} has no output", self.op.name())))
    }
}

impl Operator for Fused {
    const NAMES: &'static [&'static str] = &["Fused"];

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::new("Fused")
            .with("op", self.op.name().to_string())
            .with("count", self.count as i64)
            .with("inputs", self.program.inputs_text())
            .with("code", self.program.to_string());
        for (name, value) in self.op.attrs().iter() {
            attrs.set(&format!("op.{name}"), value.clone());
        }
        attrs
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let name: String = attrs.need("op")?;
        let mut own = Attrs::new(&name);
        for (name, value) in attrs.iter() {
            if let Some(name) = name.strip_prefix("op.") {
                own.set(name, value.clone());
            }
        }
        let (inputs, code): (String, String) = (attrs.need("inputs")?, attrs.need("code")?);
        Ok(Fused {
            op: Box::new(Op::from_name(&name, &own)?),
            count: u16::try_from(attrs.need::<i64>("count")?)
                .map_err(|_| Error::op("Fused", "count is that of an operator's inputs"))?
                .into(),
            program: Program::parse(&inputs, &code)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (own, others) = self.split(inputs)?;
        let product = self.first(self.op.infer(&own)?)?;
        let list: Vec<&Fact> = [&product].into_iter().chain(others).collect();
        if list
            .iter()
            .map(|f| f.dtype)
            .ne(self.program.inputs.iter().copied())
        {
            return Err(inputs.error("inputs of other types than the program's"));
        }
        Ok(vec![facts("Fused", &self.program, &list)?])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (own, others) = self.split(inputs)?;
        let product = self.first(self.op.reference(&own)?)?;
        let list: Vec<&HostTensor> = [&product].into_iter().chain(others).collect();
        Ok(vec![self.program.reference(&list)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        let Ok((own, others)) = self.split(cx.inputs) else {
            return Place::host("malformed");
        };
        let place = crate::lower::place(&self.op, &own, cx.outputs, cx.caps);
        let span = |f: &Fact| f.range().map(|(a, b)| (a.into(), b.into()));
        let spans: Vec<Option<Span>> = [None]
            .into_iter()
            .chain(others.iter().map(|f| span(f)))
            .collect();
        match (place, self.program.device_gap(&spans)) {
            (Place::Device, None) => Place::Device,
            (Place::Device, Some(reason)) => Place::host(reason),
            (other, _) => other,
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let operands = (self.count..cx.input_count())
            .map(|i| cx.input(i))
            .collect::<Result<Vec<_>>>()?;
        let operands = operands.into_iter().map(|v| v.scalar_if_one()).collect();
        cx.inputs.truncate(self.count);
        cx.constants.truncate(self.count);
        cx.epilogue = Some((self.program.function()?, operands));
        self.op.lower(cx)?;
        match cx.epilogue.take() {
            Some(_) => Err(cx.error(format!("{} did not take its epilogue", self.op.name()))),
            None => Ok(()),
        }
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        let Ok((own, _)) = self.split(cx.inputs) else {
            return Blocks::none();
        };
        let blocks = self.op.blocks(&Placing {
            inputs: Inputs::new(self.op.name(), &own),
            ..*cx
        });
        let mut inputs = blocks.inputs;
        inputs.resize(self.count, blocks.rest);
        // Operands of the epilogue.
        let rest = Along::Broadcast;
        Blocks {
            inputs,
            rest,
            ..blocks
        }
    }

    fn folds(&self) -> bool {
        false
    }

    fn half(&self, operand: Operand) -> bool {
        match operand {
            // What the epilogue reads.
            Operand::Input(i) if i >= self.count => true,
            other => self.op.half(other),
        }
    }

    fn cases() -> Vec<Case> {
        let cases = products()
            .into_iter()
            .chain(convolutions())
            .chain(endings());
        let cases = cases.chain(reductions()).chain(layer_norms());
        cases.flatten().collect()
    }
}

const RELU: &str = "Relu f32 %0";
const GELU: &str = "Add f32 %0 %1; Gelu(0) f32 %2";
const RESIDUAL: &str = "Add f32 %0 %1; Relu f32 %2";

/// A case on floats of these shapes, of which `count` are the operator's own.
fn case(
    name: &str,
    op: impl Into<Op>,
    count: usize,
    code: &str,
    shapes: &[&[usize]],
) -> Option<Case> {
    let types = vec!["f32"; shapes.len() - count + 1].join(" ");
    let program = Program::parse(&types, code).ok()?;
    let inputs = (1..)
        .zip(shapes)
        .map(|(seed, shape)| samples::uniform(shape, seed));
    let op = Fused::new(op.into(), count, program);
    Some(Case::new(name, op, inputs.collect()).constant(&[1]))
}

fn products() -> Vec<Option<Case>> {
    let product = |name, code, shapes| case(name, MatMul, 2, code, shapes);
    let scaled = Gemm {
        alpha: 0.5,
        beta: 2.0,
        ..Gemm::default()
    };
    vec![
        product("MatMul, Relu", RELU, &[&[5, 7], &[7, 12]]),
        product("MatMul, bias, Gelu", GELU, &[&[2, 5, 8], &[8, 12], &[12]]),
        product("odd MatMul, bias, Gelu", GELU, &[&[2, 5, 8], &[8, 7], &[7]]),
        product(
            "odd MatMul, residual",
            RESIDUAL,
            &[&[5, 8], &[8, 7], &[5, 7]],
        ),
        product(
            "one row, residual",
            RESIDUAL,
            &[&[1, 64], &[64, 40], &[1, 40]],
        ),
        product("column, scalar", RESIDUAL, &[&[6, 8], &[8], &[1]]),
        product("by row", RESIDUAL, &[&[2, 6, 8], &[8, 16], &[2, 1, 1]]),
        product(
            "by batch and column",
            RESIDUAL,
            &[&[2, 6, 8], &[8, 16], &[2, 1, 16]],
        ),
        product(
            "odd, by batch and column",
            RESIDUAL,
            &[&[2, 6, 8], &[8, 15], &[2, 1, 15]],
        ),
        case(
            "Gemm, bias, residual",
            scaled,
            3,
            RESIDUAL,
            &[&[5, 8], &[8, 12], &[12], &[5, 12]],
        ),
    ]
}

fn convolutions() -> Vec<Option<Case>> {
    let conv = |group, pad: i64| Conv {
        group,
        window: Window {
            pads: vec![pad; 4],
            ..Window::default()
        },
        layout: Layout::ChannelsLast,
    };
    let turned = ConvTranspose {
        layout: Layout::ChannelsLast,
        ..ConvTranspose::default()
    };
    vec![
        case(
            "Conv, residual",
            conv(1, 1),
            2,
            RESIDUAL,
            &[&[2, 6, 5, 3], &[8, 3, 3, 3], &[2, 6, 5, 8]],
        ),
        case(
            "odd Conv, Relu",
            conv(1, 0),
            2,
            RELU,
            &[&[1, 5, 5, 3], &[5, 3, 2, 2]],
        ),
        case(
            "grouped Conv, residual",
            conv(2, 1),
            2,
            RESIDUAL,
            &[&[1, 4, 4, 8], &[12, 4, 3, 3], &[1, 4, 4, 12]],
        ),
        case(
            "depthwise Conv, residual",
            conv(8, 1),
            2,
            RESIDUAL,
            &[&[1, 6, 5, 8], &[8, 1, 3, 3], &[1, 6, 5, 8]],
        ),
        case(
            "odd depthwise Conv, residual",
            conv(7, 1),
            2,
            RESIDUAL,
            &[&[1, 6, 5, 7], &[7, 1, 3, 3], &[1, 6, 5, 7]],
        ),
        case(
            "ConvTranspose, Relu",
            turned,
            2,
            RELU,
            &[&[1, 4, 5, 3], &[3, 8, 2, 2]],
        ),
    ]
}

/// A case of a reduction, as attributes name it, over axes that are given.
fn reduced(name: &str, axes: &[i64], code: &str, x: &[usize], y: &[usize]) -> Option<Case> {
    let op = Op::from_name(name, &Attrs::new(name).with("keepdims", false)).ok()?;
    let program = Program::parse("f32 f32", code).ok()?;
    let title = format!("{name} of {x:?} over {axes:?}");
    let operand = samples::uniform(y, 2);
    let inputs = vec![samples::uniform(x, 1), samples::ints(axes), operand];
    let op = Fused::new(op, 2, program);
    Some(Case::new(&title, op, inputs).constant(&[1]))
}

fn layer_norms() -> Vec<Option<Case>> {
    let norm = |name, code, x: &[usize], r: &[usize]| {
        let n = &x[x.len() - 1..];
        let op = LayerNormalization::default();
        case(name, op, 3, code, &[x, n, n, r])
    };
    vec![
        norm(
            "LayerNormalization, residual",
            RESIDUAL,
            &[2, 5, 8],
            &[2, 5, 8],
        ),
        norm(
            "LayerNormalization, by row",
            RESIDUAL,
            &[2, 5, 8],
            &[2, 1, 1],
        ),
        norm(
            "odd LayerNormalization, residual",
            RESIDUAL,
            &[5, 7],
            &[5, 7],
        ),
        norm("odd LayerNormalization, bias", GELU, &[5, 7], &[7]),
    ]
}

fn endings() -> Vec<Option<Case>> {
    let softmax = |axis| Softmax {
        kind: SoftmaxKind::Softmax,
        axis,
    };
    let instance = InstanceNormalization { epsilon: 1e-5 };
    let channels = |name, code, x: &[usize], others: &[&[usize]]| {
        let shapes = [&[x, &x[1..2], &x[1..2]], others].concat();
        case(name, instance.clone(), 3, code, &shapes)
    };
    vec![
        case(
            "Softmax, residual",
            softmax(-1),
            1,
            RESIDUAL,
            &[&[6, 12], &[6, 12]],
        ),
        case(
            "odd Softmax, residual",
            softmax(-1),
            1,
            RESIDUAL,
            &[&[6, 11], &[6, 11]],
        ),
        case(
            "Softmax of columns, Gelu",
            softmax(0),
            1,
            GELU,
            &[&[9, 8], &[8]],
        ),
        channels("InstanceNormalization, Relu", RELU, &[2, 3, 4, 6], &[]),
        channels(
            "odd InstanceNormalization",
            RESIDUAL,
            &[2, 3, 5, 7],
            &[&[2, 3, 5, 7]],
        ),
    ]
}

fn reductions() -> Vec<Option<Case>> {
    vec![
        reduced("ReduceMean", &[1], RESIDUAL, &[6, 20], &[6]),
        reduced("ReduceSum", &[0], GELU, &[9, 16], &[16]),
        reduced("ReduceMax", &[0], RESIDUAL, &[9, 15], &[15]),
        reduced("ReduceL2", &[0, 2], RESIDUAL, &[3, 8, 5], &[8]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_a_program() {
        assert_eq!(Fused::cases().len(), 29);
    }
}
