//! Fused: a product and the pointwise functions of its result, as one kernel; made by fusion.

use super::{Conv, ConvTranspose, Gemm, Layout, MatMul, Window};
use crate::fact::{Facts, Inputs, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
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
    /// The program's first input is output 0 of `op`, which [`Op::fuses`].
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
        let place = self.op.place(&Placing {
            inputs: Inputs::new(self.op.name(), &own),
            outputs: cx.outputs,
            caps: cx.caps,
        });
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

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let x = |shape: &[usize], seed| samples::uniform(shape, seed);
        let case = |name: &str, op: Op, count: usize, code: &str, inputs: Vec<HostTensor>| {
            let types = vec!["f32"; inputs.len() - count + 1].join(" ");
            let program = Program::parse(&types, code).ok();
            program.map(|program| {
                Case::new(name, Fused::new(op, count, program), inputs).constant(&[1])
            })
        };
        let relu = "Relu f32 %0";
        let gelu = "Add f32 %0 %1; Gelu(0) f32 %2";
        let residual = "Add f32 %0 %1; Relu f32 %2";
        let scaled = Gemm {
            alpha: 0.5,
            beta: 2.0,
            ..Gemm::default()
        };
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
        let cases = [
            case(
                "MatMul, Relu",
                MatMul.into(),
                2,
                relu,
                vec![x(&[5, 7], 1), x(&[7, 12], 2)],
            ),
            case(
                "MatMul, bias, Gelu",
                MatMul.into(),
                2,
                gelu,
                vec![x(&[2, 5, 8], 1), x(&[8, 12], 2), x(&[12], 3)],
            ),
            case(
                "odd MatMul, bias, Gelu",
                MatMul.into(),
                2,
                gelu,
                vec![x(&[2, 5, 8], 1), x(&[8, 7], 2), x(&[7], 3)],
            ),
            case(
                "odd MatMul, residual",
                MatMul.into(),
                2,
                residual,
                vec![x(&[5, 8], 1), x(&[8, 7], 2), x(&[5, 7], 3)],
            ),
            case(
                "one row, residual",
                MatMul.into(),
                2,
                residual,
                vec![x(&[1, 64], 1), x(&[64, 40], 2), x(&[1, 40], 3)],
            ),
            case(
                "column, scalar",
                MatMul.into(),
                2,
                residual,
                vec![x(&[6, 8], 1), x(&[8], 2), x(&[1], 3)],
            ),
            case(
                "by row",
                MatMul.into(),
                2,
                residual,
                vec![x(&[2, 6, 8], 1), x(&[8, 16], 2), x(&[2, 1, 1], 3)],
            ),
            case(
                "by batch and column",
                MatMul.into(),
                2,
                residual,
                vec![x(&[2, 6, 8], 1), x(&[8, 16], 2), x(&[2, 1, 16], 3)],
            ),
            case(
                "odd, by batch and column",
                MatMul.into(),
                2,
                residual,
                vec![x(&[2, 6, 8], 1), x(&[8, 15], 2), x(&[2, 1, 15], 3)],
            ),
            case(
                "Gemm, bias, residual",
                scaled.into(),
                3,
                residual,
                vec![x(&[5, 8], 1), x(&[8, 12], 2), x(&[12], 3), x(&[5, 12], 4)],
            ),
            case(
                "Conv, residual",
                conv(1, 1).into(),
                2,
                residual,
                vec![
                    x(&[2, 6, 5, 3], 1),
                    x(&[8, 3, 3, 3], 2),
                    x(&[2, 6, 5, 8], 3),
                ],
            ),
            case(
                "odd Conv, Relu",
                conv(1, 0).into(),
                2,
                relu,
                vec![x(&[1, 5, 5, 3], 1), x(&[5, 3, 2, 2], 2)],
            ),
            case(
                "grouped Conv, residual",
                conv(2, 1).into(),
                2,
                residual,
                vec![
                    x(&[1, 4, 4, 8], 1),
                    x(&[12, 4, 3, 3], 2),
                    x(&[1, 4, 4, 12], 3),
                ],
            ),
            case(
                "depthwise Conv, residual",
                conv(8, 1).into(),
                2,
                residual,
                vec![
                    x(&[1, 6, 5, 8], 1),
                    x(&[8, 1, 3, 3], 2),
                    x(&[1, 6, 5, 8], 3),
                ],
            ),
            case(
                "odd depthwise Conv, residual",
                conv(7, 1).into(),
                2,
                residual,
                vec![
                    x(&[1, 6, 5, 7], 1),
                    x(&[7, 1, 3, 3], 2),
                    x(&[1, 6, 5, 7], 3),
                ],
            ),
            case(
                "ConvTranspose, Relu",
                turned.into(),
                2,
                relu,
                vec![x(&[1, 4, 5, 3], 1), x(&[3, 8, 2, 2], 2)],
            ),
        ];
        cases.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_a_program() {
        assert_eq!(Fused::cases().len(), 16);
    }
}
