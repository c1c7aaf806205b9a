//! Programs on the host: in f64 or exact integers, each instruction rounded or wrapped to its type.

use super::program::Instr;
use super::{Func, Num, Program};
use crate::{Error, Result};
use tilewright_tensor::{DType, Element, HostTensor, Offsets, Shape, bf16, f16};

/// Elements that pass through the program together: enough to forget the interpretation, few enough for the cache.
const CHUNK: usize = 1024;

/// Some elements of one value.
#[derive(Clone, Debug)]
enum Column {
    F(Vec<f64>),
    I(Vec<i128>),
}

impl Program {
    /// The result for these inputs, which broadcast against each other.
    pub(crate) fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        let shapes: Vec<&Shape> = inputs.iter().map(|t| t.shape()).collect();
        self.reference_as(inputs, Shape::broadcast(&shapes)?)
    }

    /// The result in this shape, to which the inputs broadcast.
    pub(crate) fn reference_as(&self, inputs: &[&HostTensor], shape: Shape) -> Result<HostTensor> {
        if inputs
            .iter()
            .map(|t| t.dtype())
            .ne(self.inputs.iter().copied())
        {
            return Err(Error::op("Map", "inputs of other types than the program's"));
        }
        let mut strides = vec![];
        for t in inputs {
            strides.push(t.shape().broadcast_strides(&shape)?);
        }
        let mut walks: Vec<Offsets<1>> = strides.iter().map(|s| shape.offsets([&s[..]])).collect();
        let (mut left, dtype) = (shape.elements()?, self.dtype(self.last()));
        let (mut floats, mut ints) = (vec![], vec![]);
        while left > 0 {
            let n = left.min(CHUNK);
            left -= n;
            let mut values: Vec<Column> = Vec::with_capacity(self.last() + 1);
            for (t, walk) in inputs.iter().zip(&mut walks) {
                values.push(gather(t, walk.by_ref().take(n))?);
            }
            for instr in &self.code {
                values.push(instr.run(&values, n, self)?);
            }
            match values.pop() {
                Some(Column::F(v)) => floats.extend(v),
                // Values above i64 are u64, whose bits survive the way through i64.
                Some(Column::I(v)) => ints.extend(v.into_iter().map(|v| v as i64)),
                None => return Err(Error::op("Map", "an empty program")),
            }
        }
        Ok(if dtype.is_float() {
            HostTensor::from_f64(dtype, shape, floats)?
        } else {
            HostTensor::from_i64(dtype, shape, ints)?
        })
    }
}

impl Instr {
    fn run(&self, values: &[Column], n: usize, program: &Program) -> Result<Column> {
        let args: Vec<&Column> = self.args.iter().map(|&a| &values[a]).collect();
        Ok(match &self.func {
            Func::Const(Num::F(v)) => Column::F(vec![round(self.dtype, *v); n]),
            Func::Const(Num::I(v)) => Column::I(vec![wrap(self.dtype, *v); n]),
            Func::Cast => cast(args[0], self.dtype),
            Func::Bits => bits(args[0], program.dtype(self.args[0]), self.dtype),
            Func::Row(row, params) => {
                let types: Vec<DType> = self.args.iter().map(|&a| program.dtype(a)).collect();
                let missing = || Error::op(row.name, format!("is not defined on {}", types[0]));
                if types.iter().any(|d| d.is_float()) {
                    let formula = row.float.as_ref().ok_or_else(missing)?;
                    let args: Vec<Vec<f64>> = args.into_iter().map(Column::floats).collect();
                    let out = apply(&args, n, |x| (formula.host)(x, params));
                    let dtype = self.dtype;
                    if dtype.is_float() {
                        Column::F(out.into_iter().map(|v| round(dtype, v)).collect())
                    } else {
                        Column::I(out.into_iter().map(|v| whole(dtype, v)).collect())
                    }
                } else {
                    let formula = row.int.as_ref().ok_or_else(missing)?;
                    let args: Vec<&[i128]> = args.into_iter().map(Column::ints).collect();
                    let out = apply(&args, n, |x| (formula.host)(x, params, types[0]));
                    Column::I(out.into_iter().map(|v| wrap(self.dtype, v)).collect())
                }
            }
        })
    }
}

/// `f` of the i-th elements of all arguments, for each i.
fn apply<T: Copy + Default>(args: &[impl AsRef<[T]>], n: usize, f: impl Fn(&[T]) -> T) -> Vec<T> {
    let mut x = [T::default(); 3];
    (0..n)
        .map(|i| {
            for (x, a) in x.iter_mut().zip(args) {
                *x = a.as_ref()[i];
            }
            f(&x[..args.len()])
        })
        .collect()
}

impl Column {
    fn floats(&self) -> Vec<f64> {
        match self {
            Column::F(v) => v.clone(),
            Column::I(v) => v.iter().map(|&v| v as f64).collect(),
        }
    }

    fn ints(&self) -> &[i128] {
        match self {
            Column::I(v) => v,
            Column::F(_) => &[],
        }
    }
}

/// A float as an element of a float type.
fn round(dtype: DType, v: f64) -> f64 {
    match dtype {
        DType::F32 => f32::cast_f64(v).to_f64(),
        DType::F16 => f16::cast_f64(v).to_f64(),
        DType::BF16 => bf16::cast_f64(v).to_f64(),
        _ => v,
    }
}

/// An integer as an element of an integer type or bool.
pub(super) fn wrap(dtype: DType, v: i128) -> i128 {
    if dtype == DType::Bool {
        return i128::from(v != 0);
    }
    let unused = 128 - dtype.bits() as u32;
    if dtype.is_signed() {
        v << unused >> unused
    } else {
        ((v as u128) << unused >> unused) as i128
    }
}

/// A float as an element of an integer type or bool, as [`HostTensor::cast`] does it.
fn whole(dtype: DType, v: f64) -> i128 {
    match dtype {
        DType::Bool => i128::from(v != 0.0),
        DType::U64 => u64::cast_f64(v).into(),
        _ => wrap(dtype, i64::cast_f64(v).into()),
    }
}

fn cast(from: &Column, to: DType) -> Column {
    match (from, to.is_float()) {
        (Column::F(v), true) => Column::F(v.iter().map(|&v| round(to, v)).collect()),
        (Column::F(v), false) => Column::I(v.iter().map(|&v| whole(to, v)).collect()),
        (Column::I(v), false) => Column::I(v.iter().map(|&v| wrap(to, v)).collect()),
        (Column::I(v), true) => Column::F(v.iter().map(|&v| rounded(to, v)).collect()),
    }
}

/// An integer as a float, rounded once.
fn rounded(to: DType, v: i128) -> f64 {
    match to {
        DType::F32 => f32::cast_i128(v).to_f64(),
        DType::F16 => f16::cast_i128(v).to_f64(),
        DType::BF16 => bf16::cast_i128(v).to_f64(),
        _ => v as f64,
    }
}

/// The bits of elements of one type as elements of another of the same width.
fn bits(from: &Column, was: DType, to: DType) -> Column {
    let pattern: Vec<i128> = match from {
        Column::I(v) => v.clone(),
        Column::F(v) => v
            .iter()
            .map(|&v| match was {
                DType::F32 => (v as f32).to_bits().into(),
                DType::F16 => f16::cast_f64(v).to_bits().into(),
                DType::BF16 => bf16::cast_f64(v).to_bits().into(),
                _ => v.to_bits().into(),
            })
            .collect(),
    };
    if !to.is_float() {
        return Column::I(pattern.into_iter().map(|v| wrap(to, v)).collect());
    }
    let float = |v: i128| match to {
        DType::F32 => f32::from_bits(v as u32).to_f64(),
        DType::F16 => f16::from_bits(v as u16).to_f64(),
        DType::BF16 => bf16::from_bits(v as u16).to_f64(),
        _ => f64::from_bits(v as u64),
    };
    Column::F(pattern.into_iter().map(float).collect())
}

/// The elements of `t` at these offsets.
fn gather(t: &HostTensor, at: impl Iterator<Item = [usize; 1]>) -> Result<Column> {
    Ok(match t.dtype() {
        DType::F32 => floats::<f32>(t, at)?,
        DType::F64 => floats::<f64>(t, at)?,
        DType::F16 => floats::<f16>(t, at)?,
        DType::BF16 => floats::<bf16>(t, at)?,
        DType::I8 | DType::I4 | DType::I2 => ints::<i8>(t, at)?,
        DType::I16 => ints::<i16>(t, at)?,
        DType::I32 => ints::<i32>(t, at)?,
        DType::I64 => ints::<i64>(t, at)?,
        DType::U8 | DType::Bool | DType::U4 | DType::U2 => ints::<u8>(t, at)?,
        DType::U16 => ints::<u16>(t, at)?,
        DType::U32 => ints::<u32>(t, at)?,
        DType::U64 => ints::<u64>(t, at)?,
    })
}

fn floats<T: Element>(t: &HostTensor, at: impl Iterator<Item = [usize; 1]>) -> Result<Column> {
    let v = t.as_slice::<T>()?;
    Ok(Column::F(at.map(|[i]| v[i].to_f64()).collect()))
}

fn ints<T: Element>(t: &HostTensor, at: impl Iterator<Item = [usize; 1]>) -> Result<Column> {
    let v = t.as_slice::<T>()?;
    Ok(Column::I(at.map(|[i]| v[i].to_i128()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::row;

    #[test]
    fn casts_agree_with_those_of_tensors() {
        let floats = [0.0, -1.9, 300.7, 1e10, -5e9, 0.1, f64::NAN, 65519.9];
        let ints = [0, 1, -1, 127, 128, 255, 40000, -40000, i64::MAX, i64::MIN];
        for from in DType::ALL {
            let t = if from.is_float() {
                HostTensor::from_f64(from, [floats.len()], floats.to_vec()).unwrap()
            } else {
                HostTensor::from_i64(from, [ints.len()], ints.to_vec()).unwrap()
            };
            for to in DType::ALL {
                let mut program = Program::new(vec![from]);
                program.push(Func::Cast, &[0], to);
                let got = program.reference(&[&t]).unwrap();
                let expected = t.cast(to).unwrap();
                // NaN bits may differ.
                assert_eq!(
                    format!("{got:?}"),
                    format!("{expected:?}"),
                    "{from} to {to}"
                );
            }
        }
    }

    #[test]
    fn each_instruction_is_rounded() {
        let mut p = Program::new(vec![DType::F16, DType::F16]);
        let sum = p.apply(row("Add").unwrap(), &[], &[0, 1]).unwrap();
        p.apply(row("Sub").unwrap(), &[], &[sum, 0]).unwrap();
        let of = |v: f64| HostTensor::from_f64(DType::F16, [], vec![v]).unwrap();
        assert_eq!(
            p.reference(&[&of(2048.0), &of(1.0)]).unwrap().to_f64(),
            [0.0]
        );
        let mut p = Program::new(vec![DType::I8]);
        p.apply(row("Add").unwrap(), &[], &[0, 0]).unwrap();
        p.apply(row("Abs").unwrap(), &[], &[1]).unwrap();
        let t = HostTensor::from_vec([3], vec![64i8, 100, -100]).unwrap();
        assert_eq!(
            p.reference(&[&t]).unwrap().to_i64().unwrap(),
            [-128, 56, 56]
        );
    }

    #[test]
    fn long_inputs_pass_in_chunks() {
        let n = 2 * CHUNK + 7;
        let a = HostTensor::from_vec([n], (0..n as i32).collect::<Vec<_>>()).unwrap();
        let p = Program::of(row("Mul").unwrap(), &[], &[DType::I32, DType::I32]).unwrap();
        let got = p.reference(&[&a, &HostTensor::scalar(3i32)]).unwrap();
        assert!(
            got.to_i64()
                .unwrap()
                .iter()
                .enumerate()
                .all(|(i, v)| *v == 3 * i as i64)
        );
    }
}
