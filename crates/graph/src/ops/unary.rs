//! Functions of one operand, each element on its own: the rows of [`crate::point`].

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::point::{self, Pointwise, Program, Row, UNARY, UNARY_NAMES, facts, row};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// A pointwise function of one operand: ONNX's Abs, Exp, Relu, Gelu and so on, see `Unary::NAMES`.
#[derive(Clone, Debug)]
pub struct Unary {
    row: &'static Row,
    params: Vec<f32>,
}

impl Unary {
    /// The function of that ONNX name with its default attributes; an error if there is none.
    pub fn new(name: &str) -> Result<Unary> {
        if !UNARY_NAMES.contains(&name) {
            return Err(Error::UnknownOp { name: name.into() });
        }
        let row = row(name)?;
        Ok(Unary {
            row,
            params: row.defaults(),
        })
    }
}

impl Pointwise for Unary {
    fn program(&self, types: &[Option<DType>]) -> Result<(Program, Vec<usize>)> {
        let types = point::operands(self.row.name, types, 1)?;
        Ok((Program::of(self.row, &self.params, &types)?, vec![0]))
    }
}

impl Operator for Unary {
    const NAMES: &'static [&'static str] = UNARY_NAMES;

    fn name(&self) -> &'static str {
        self.row.name
    }

    fn attrs(&self) -> Attrs {
        self.row.attrs(&self.params)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        let row = row(name)?;
        Ok(Unary {
            row,
            params: row.read(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        Ok(vec![facts(
            self.row.name,
            &self.program(&[Some(x.dtype)])?.0,
            &[x],
        )?])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        Ok(vec![self.program(&[Some(x.dtype())])?.0.reference(&[x])?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        point::place(self, cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        point::lower(self, cx)
    }

    fn blocks(&self, cx: &Placing<'_>) -> Blocks {
        Blocks::pointwise(cx.outputs)
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        for (i, row) in UNARY.iter().enumerate() {
            let case = |of: &str, params: Vec<f32>, x: HostTensor| {
                Case::new(of, Unary { row, params }, vec![x])
            };
            let (low, high) = row.domain;
            let x = || samples::between(&[3, 5, 7], i as u64, low, high);
            if row.float.is_some() {
                cases.push(case("f32", row.defaults(), x()));
                cases.push(case(
                    "f16",
                    row.defaults(),
                    x().cast(DType::F16).expect("a cast between floats"),
                ));
            }
            if let (true, Some(_)) = (row.float.is_some(), row.params.first()) {
                cases.push(case("other attributes", row.changed(), x()));
            }
            for dtype in [
                DType::I32,
                DType::I64,
                DType::I8,
                DType::U8,
                DType::U16,
                DType::Bool,
            ] {
                if row.int.is_some() && row.result(&[dtype]).is_ok() {
                    let (low, high) = dtype
                        .int_range()
                        .map_or((0, 1), |(l, h)| (l.max(-200), h.min(200)));
                    let x =
                        samples::integers(dtype, &[3, 37], i as u64, low as i64, high as i64 + 1);
                    cases.push(case(dtype.name(), row.defaults(), x));
                }
            }
        }
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -1.5];
        for name in ["IsNaN", "IsInf", "Relu", "Abs"] {
            let op = Unary::new(name).expect("a row of the table");
            cases.push(Case::new("special", op, vec![samples::of(&[5], &special)]));
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Inputs;

    fn of(name: &str, x: &[f32]) -> Vec<f64> {
        let x = samples::of(&[x.len()], x);
        let op = Unary::new(name).unwrap();
        op.reference(Inputs::new("", &[Some(&x)])).unwrap()[0].to_f64()
    }

    #[test]
    fn values_are_those_of_the_formulas() {
        let close = |name: &str, x: f32, y: f64| {
            let got = of(name, &[x])[0];
            assert!(
                (got - y).abs() <= 2e-7 * y.abs(),
                "{name}({x}) = {got}, not {y}"
            );
        };
        close("Erf", 0.5, 0.520_499_877_813_046_5);
        close("Gelu", 1.0, 0.841_344_746_068_542_9);
        close("Gelu", -5.0, -1.433_257_859_895_954e-6);
        close("Mish", 1.0, 0.865_098_388_267_034_4);
        close("Selu", -1.0, -1.111_330_762_088_953_7);
        close("Softplus", 100.0, 100.0);
        close("Softplus", -30.0, 9.357_622_968_839_299e-14);
        close("HardSwish", 1.0, 2.0 / 3.0);
        close("HardSigmoid", 1.0, 0.7);
        close("Celu", -2.0, -0.864_664_716_763_387_3);
        assert_eq!(of("Round", &[0.5, 1.5, -2.5, 2.3]), [0.0, 2.0, -2.0, 2.0]);
        assert_eq!(of("Sign", &[-3.0, 0.0, 7.0]), [-1.0, 0.0, 1.0]);
        assert_eq!(of("Shrink", &[-2.0, 0.25, 1.0]), [-2.0, 0.0, 1.0]);
        assert_eq!(of("ThresholdedRelu", &[0.5, 1.0, 1.5]), [0.0, 0.0, 1.5]);
    }

    #[test]
    fn attributes_come_from_onnx() {
        let attrs = Attrs::new("IsInf").with("detect_negative", 0i64);
        let op = Unary::from_attrs("IsInf", &attrs).unwrap();
        let x = samples::of(&[3], &[f32::INFINITY, f32::NEG_INFINITY, 1.0]);
        let y = op.reference(Inputs::new("", &[Some(&x)])).unwrap();
        assert_eq!(y[0].to_i64().unwrap(), [1, 0, 0]);
        assert!(Unary::new("Add").is_err());
    }
}
