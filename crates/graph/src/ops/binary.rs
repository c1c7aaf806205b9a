//! Functions of two operands, each pair of elements on its own: the rows of [`crate::point`].

use crate::blocks::Blocks;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::point::{self, BINARY, BINARY_NAMES, Pointwise, Program, Row, facts, row};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// The last two rows are steps of the variadic Min and Max, which `ops/variadic.rs` serves.
const NAMES: &[&str] = BINARY_NAMES.split_at(BINARY_NAMES.len() - 2).0;

/// A pointwise function of two operands that broadcast: ONNX's Add, Equal, Pow and so on, see `Binary::NAMES`.
#[derive(Clone, Debug)]
pub struct Binary {
    row: &'static Row,
    params: Vec<f32>,
}

impl Binary {
    /// The function of that ONNX name with its default attributes; an error if there is none.
    pub fn new(name: &str) -> Result<Binary> {
        if !NAMES.contains(&name) {
            return Err(Error::UnknownOp { name: name.into() });
        }
        let row = row(name)?;
        Ok(Binary {
            row,
            params: row.defaults(),
        })
    }

    /// Operators that broadcast one way or not at all.
    fn check_shape(&self, out: &[usize], x: &[usize], y: &[usize]) -> Result<()> {
        let narrow = match self.row.name {
            "PRelu" => out != x,
            "SwiGLU" => x != y,
            _ => false,
        };
        if narrow {
            let what = format!("an input of shape {y:?} does not go with {x:?}");
            return Err(Error::op(self.row.name, what));
        }
        Ok(())
    }
}

impl Pointwise for Binary {
    fn program(&self, types: &[Option<DType>]) -> Result<(Program, Vec<usize>)> {
        let types = point::operands(self.row.name, types, 2)?;
        Ok((Program::of(self.row, &self.params, &types)?, vec![0, 1]))
    }
}

impl Operator for Binary {
    const NAMES: &'static [&'static str] = NAMES;

    fn name(&self) -> &'static str {
        self.row.name
    }

    fn attrs(&self) -> Attrs {
        self.row.attrs(&self.params)
    }

    fn from_attrs(name: &str, attrs: &Attrs) -> Result<Self> {
        let row = row(name)?;
        Ok(Binary {
            row,
            params: row.read(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, y) = (inputs.req(0)?, inputs.req(1)?);
        let out = facts(
            self.row.name,
            &self.program(&[Some(x.dtype), Some(y.dtype)])?.0,
            &[x, y],
        )?;
        if let (Some(o), Some(x), Some(y)) = (out.known_shape(), x.known_shape(), y.known_shape()) {
            self.check_shape(&o, &x, &y)?;
        }
        Ok(vec![out])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, y) = (inputs.req(0)?, inputs.req(1)?);
        let (program, _) = self.program(&[Some(x.dtype()), Some(y.dtype())])?;
        let out = program.reference(&[x, y])?;
        self.check_shape(out.shape(), x.shape(), y.shape())?;
        Ok(vec![out])
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
        let rows = || BINARY.iter().filter(|row| NAMES.contains(&row.name));
        for (row, seed) in rows().zip(1..) {
            let case = |of: &str, params: &[f32], x: HostTensor, y: HostTensor| {
                let params = params.to_vec();
                Case::new(of, Binary { row, params }, vec![x, y])
            };
            let shape: &[usize] = if row.name == "SwiGLU" {
                &[2, 5, 7]
            } else {
                &[5, 1]
            };
            // A positive base, else most powers are NaN.
            let low = if row.name == "Pow" { 0.1 } else { -3.0 };
            let x = || samples::between(&[2, 5, 7], seed, low, 3.0);
            let y = || samples::between(shape, seed + 99, -3.0, 3.0);
            if row.float.is_some() {
                cases.push(case("f32", &row.defaults(), x(), y()));
            }
            if row.params.len() == 1 {
                let other = row.changed();
                if row.float.is_some() {
                    cases.push(case("f32, other attribute", &other, x(), y()));
                }
                cases.extend(integers(row, &other, seed).filter(|_| row.int.is_some()));
            }
            cases.extend(integers(row, &row.defaults(), seed).filter(|_| row.int.is_some()));
        }
        cases.extend(shapes());
        cases
    }
}

/// Each integer type, with values that wrap.
fn integers(row: &'static Row, params: &[f32], seed: u64) -> impl Iterator<Item = Case> {
    let params = params.to_vec();
    let types = [
        DType::I32,
        DType::I64,
        DType::I8,
        DType::I16,
        DType::U8,
        DType::U32,
        DType::Bool,
    ];
    let fits = move |d: &DType| row.result(&[*d, *d]).is_ok();
    types.into_iter().filter(fits).map(move |dtype| {
        let (low, high) = dtype
            .int_range()
            .map_or((0, 1), |(l, h)| (l.max(-300), h.min(300)));
        let one = |seed| samples::integers(dtype, &[4, 33], seed, low as i64, high as i64 + 1);
        // Amounts and exponents beyond a few say nothing.
        let few = samples::integers(
            dtype,
            &[33],
            seed,
            low.max(-3) as i64,
            high.min(9) as i64 + 1,
        );
        let y = if matches!(row.name, "Pow" | "BitShift" | "PRelu") {
            few
        } else {
            one(seed + 50)
        };
        let op = Binary {
            row,
            params: params.clone(),
        };
        Case::new(&format!("{dtype} {params:?}"), op, vec![one(seed), y])
    })
}

/// Add over shapes that broadcast in every way, and mixed types of Pow.
fn shapes() -> Vec<Case> {
    let shapes: [(&[usize], &[usize]); 12] = [
        (&[4, 8], &[4, 8]),
        (&[3, 5], &[]),
        (&[], &[3, 5]),
        (&[], &[]),
        (&[2, 3, 8], &[8]),
        (&[2, 3, 7], &[3, 7]),
        (&[2, 3, 8], &[2, 1, 1]),
        (&[6, 5], &[6, 1]),
        (&[2, 3, 4, 5], &[3, 1, 5]),
        (&[5, 1, 4], &[3, 1]),
        (&[2, 1, 2, 1, 2, 1, 3], &[2, 3, 1, 2, 1, 2, 1]),
        (&[0, 4], &[4]),
    ];
    let mut cases = vec![];
    for (i, (a, b)) in shapes.iter().enumerate() {
        let inputs = vec![
            samples::uniform(a, i as u64),
            samples::uniform(b, 70 + i as u64),
        ];
        cases.extend(Binary::new("Add").map(|op| Case::new(&format!("{a:?} + {b:?}"), op, inputs)));
    }
    let base = || samples::between(&[3, 7], 5, 0.5, 3.0);
    let whole = |dtype| samples::integers(dtype, &[3, 7], 6, 0, 4);
    for (x, y) in [
        (base(), whole(DType::I32)),
        (base(), whole(DType::I64)),
        (whole(DType::I32), base()),
        (whole(DType::I64), whole(DType::I32)),
        (samples::between(&[3, 7], 8, -3.0, 3.0), whole(DType::U8)),
    ] {
        let title = format!("{} to the {}", x.dtype(), y.dtype());
        cases.extend(Binary::new("Pow").map(|op| Case::new(&title, op, vec![x, y])));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;
    use crate::fact::Inputs;

    fn dims(values: &[Dim]) -> Fact {
        Fact::of_dims(DType::I64, &[values.len()], values.to_vec())
    }

    fn infer(name: &str, x: &Fact, y: &Fact) -> Fact {
        let op = Binary::new(name).unwrap();
        op.infer(Inputs::new("", &[Some(x), Some(y)]))
            .unwrap()
            .remove(0)
    }

    #[test]
    fn sizes_are_followed() {
        let n = Dim::symbol("n");
        let shape = dims(&[n.clone(), 6i64.into()]);
        let two = Fact::of(samples::ints(&[2]));
        let doubled = infer("Mul", &shape, &two);
        assert_eq!(
            doubled.dims().unwrap(),
            [n.clone() * 2i64.into(), 12i64.into()]
        );
        assert_eq!(infer("Div", &doubled, &two).dims(), shape.dims());
        assert_eq!(infer("Mod", &doubled, &two).ints().unwrap(), [0, 0]);
        let minus = Fact::of(samples::ints(&[-1]));
        assert_eq!(infer("Equal", &shape, &minus).ints().unwrap(), [0, 0]);
        assert_eq!(infer("Greater", &shape, &minus).ints().unwrap(), [1, 1]);
        let half = infer("Div", &shape, &two);
        assert_eq!(infer("Equal", &half, &minus).ints().unwrap(), [0, 0]);
        // Depends on n.
        assert_eq!(infer("Equal", &shape, &two).dims(), None);
    }

    #[test]
    fn bounds_are_followed() {
        let x = Fact::sized(DType::I64, &[4]).with_range(0, 10);
        let y = Fact::sized(DType::I64, &[4]).with_range(-2, 3);
        assert_eq!(infer("Mul", &x, &y).range(), Some((-20, 30)));
        assert_eq!(infer("Sub", &x, &y).range(), Some((-3, 12)));
        let unknown = Fact::sized(DType::I64, &[4]);
        assert_eq!(infer("Add", &x, &unknown).range(), None);
        let wide = Fact::sized(DType::I8, &[4]);
        assert_eq!(infer("Add", &wide, &wide).range(), Some((-128, 127)));
    }

    #[test]
    fn one_way_broadcasting_is_checked() {
        let op = Binary::new("PRelu").unwrap();
        let (x, y) = (samples::uniform(&[3], 1), samples::uniform(&[2, 3], 2));
        assert!(op.reference(Inputs::new("", &[Some(&y), Some(&x)])).is_ok());
        assert!(
            op.reference(Inputs::new("", &[Some(&x), Some(&y)]))
                .is_err()
        );
        let (x, y) = (Fact::of(x), Fact::of(y));
        assert!(op.infer(Inputs::new("", &[Some(&x), Some(&y)])).is_err());
        let op = Binary::new("SwiGLU").unwrap();
        assert!(op.infer(Inputs::new("", &[Some(&y), Some(&x)])).is_err());
    }
}
