//! Programs: rows applied one after another, each result used any number of times.

use super::{Row, row};
use crate::{Error, Result};
use std::fmt::{self, Write as _};
use tilewright_tensor::DType;

/// A pointwise function of some inputs, as a list of instructions. Values are numbered, inputs first; the last is the result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Program {
    pub(crate) inputs: Vec<DType>,
    pub(crate) code: Vec<Instr>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instr {
    pub(crate) func: Func,
    /// Earlier values.
    pub(crate) args: Vec<usize>,
    /// The type of the result.
    pub(crate) dtype: DType,
}

/// What an instruction does.
#[derive(Clone, Debug)]
pub(crate) enum Func {
    /// A row with its parameters.
    Row(&'static Row, Vec<f32>),
    /// ONNX Cast to the instruction's type.
    Cast,
    /// The same bits as the instruction's type, of the same width.
    Bits,
    /// A constant.
    Const(Num),
}

/// A number, exact in its kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Num {
    /// Of a float type.
    F(f64),
    /// Of an integer type or bool.
    I(i128),
}

impl PartialEq for Num {
    /// By bits, so that NaN equals NaN.
    fn eq(&self, other: &Num) -> bool {
        match (self, other) {
            (Num::F(a), Num::F(b)) => a.to_bits() == b.to_bits(),
            (Num::I(a), Num::I(b)) => a == b,
            _ => false,
        }
    }
}

impl PartialEq for Func {
    fn eq(&self, other: &Func) -> bool {
        match (self, other) {
            (Func::Row(a, p), Func::Row(b, q)) => {
                a.name == b.name
                    && p.iter()
                        .map(|x| x.to_bits())
                        .eq(q.iter().map(|x| x.to_bits()))
            }
            (Func::Cast, Func::Cast) | (Func::Bits, Func::Bits) => true,
            (Func::Const(a), Func::Const(b)) => a == b,
            _ => false,
        }
    }
}

impl Program {
    /// A program that gives its last input.
    pub(crate) fn new(inputs: Vec<DType>) -> Program {
        Program {
            inputs,
            code: vec![],
        }
    }

    /// A program of one row over its operands.
    pub(crate) fn of(row: &'static Row, params: &[f32], operands: &[DType]) -> Result<Program> {
        let mut program = Program::new(operands.to_vec());
        let args: Vec<usize> = (0..operands.len()).collect();
        program.apply(row, params, &args)?;
        Ok(program)
    }

    /// The type of value `i`.
    pub(crate) fn dtype(&self, i: usize) -> DType {
        match self.inputs.get(i) {
            Some(d) => *d,
            None => self.code[i - self.inputs.len()].dtype,
        }
    }

    /// The number of the last value.
    pub(crate) fn last(&self) -> usize {
        (self.inputs.len() + self.code.len()).saturating_sub(1)
    }

    /// Appends a row; the number of its result.
    pub(crate) fn apply(
        &mut self,
        row: &'static Row,
        params: &[f32],
        args: &[usize],
    ) -> Result<usize> {
        let operands: Vec<DType> = args.iter().map(|&a| self.dtype(a)).collect();
        let dtype = row.result(&operands)?;
        let any_float = operands.iter().any(|d| d.is_float());
        if !(if any_float {
            row.float.is_some()
        } else {
            row.int.is_some()
        }) {
            return Err(Error::op(
                row.name,
                format!("is not defined on {}", operands[0]),
            ));
        }
        Ok(self.push(Func::Row(row, params.to_vec()), args, dtype))
    }

    /// Appends a cast, unless the type is right already; the number of its result.
    pub(crate) fn cast(&mut self, arg: usize, dtype: DType) -> usize {
        if self.dtype(arg) == dtype {
            return arg;
        }
        self.push(Func::Cast, &[arg], dtype)
    }

    /// Appends an instruction whose type the caller has checked; the number of its result.
    pub(crate) fn push(&mut self, func: Func, args: &[usize], dtype: DType) -> usize {
        self.code.push(Instr {
            func,
            args: args.to_vec(),
            dtype,
        });
        self.last()
    }

    /// Appends the instructions of `other`, whose inputs are these values; the number of its result.
    pub(crate) fn append(&mut self, other: &Program, inputs: &[usize]) -> usize {
        let mut at: Vec<usize> = inputs.to_vec();
        for instr in &other.code {
            let args: Vec<usize> = instr.args.iter().map(|&a| at[a]).collect();
            // An instruction that is there already is not repeated.
            let seen = self.code.iter().position(|have| {
                have.func == instr.func && have.args == args && have.dtype == instr.dtype
            });
            at.push(match seen {
                Some(i) => self.inputs.len() + i,
                None => self.push(instr.func.clone(), &args, instr.dtype),
            });
        }
        at.last().copied().unwrap_or(0)
    }

    /// The text of the types of the inputs: `f32 i64`.
    pub(crate) fn inputs_text(&self) -> String {
        let names: Vec<_> = self.inputs.iter().map(|d| d.name()).collect();
        names.join(" ")
    }

    /// Reads what [`Program::inputs_text`] and `Display` write.
    pub(crate) fn parse(inputs: &str, code: &str) -> Result<Program> {
        let wrong = |what: &str| Error::op("Map", format!("`{what}` is not an instruction"));
        let dtype = |name: &str| name.parse::<DType>().map_err(Error::from);
        let mut program = Program::new(
            inputs
                .split_whitespace()
                .map(dtype)
                .collect::<Result<_>>()?,
        );
        for line in code
            .split(';')
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let mut words = line.split_whitespace();
            let (Some(head), Some(result)) = (words.next(), words.next()) else {
                return Err(wrong(line));
            };
            let result = dtype(result)?;
            let (name, params) = match head.split_once('(') {
                Some((name, rest)) => (name, rest.strip_suffix(')').ok_or_else(|| wrong(line))?),
                None => (head, ""),
            };
            let mut args = vec![];
            for word in words {
                let at = word.strip_prefix('%').and_then(|n| n.parse::<usize>().ok());
                let known = program.inputs.len() + program.code.len();
                args.push(at.filter(|&at| at < known).ok_or_else(|| wrong(line))?);
            }
            program
                .parsed(name, params, &args, result)
                .ok_or_else(|| wrong(line))??;
        }
        if program.inputs.is_empty() && program.code.is_empty() {
            return Err(Error::op("Map", "an empty program"));
        }
        Ok(program)
    }

    /// Appends an instruction as it was read; none if it is malformed.
    fn parsed(
        &mut self,
        name: &str,
        params: &str,
        args: &[usize],
        dtype: DType,
    ) -> Option<Result<()>> {
        match (name, args) {
            ("cast", [_]) => {
                self.push(Func::Cast, args, dtype);
            }
            ("bits", [from]) if self.dtype(*from).size_bytes() == dtype.size_bytes() => {
                self.push(Func::Bits, args, dtype);
            }
            ("const", []) => {
                let num = if dtype.is_float() {
                    Num::F(params.parse().ok()?)
                } else {
                    Num::I(params.parse().ok()?)
                };
                self.push(Func::Const(num), args, dtype);
            }
            _ => {
                let row = row(name).ok()?;
                let values = params
                    .split(',')
                    .filter(|p| !p.is_empty())
                    .map(|p| p.parse().ok());
                let values: Vec<f32> = values.collect::<Option<_>>()?;
                if values.len() != row.params.len() {
                    return None;
                }
                match self.apply(row, &values, args) {
                    Ok(at) if self.dtype(at) == dtype => {}
                    Ok(_) => return None,
                    Err(e) => return Some(Err(e)),
                }
            }
        }
        Some(Ok(()))
    }
}

/// `Add f32 %0 %1; LeakyRelu(0.1) f32 %2`: function, type of the result, operands.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, instr) in self.code.iter().enumerate() {
            f.write_str(if i > 0 { "; " } else { "" })?;
            match &instr.func {
                Func::Row(row, params) => {
                    f.write_str(row.name)?;
                    if !params.is_empty() {
                        let values: Vec<_> = params.iter().map(|v| format!("{v:?}")).collect();
                        write!(f, "({})", values.join(","))?;
                    }
                }
                Func::Cast => f.write_str("cast")?,
                Func::Bits => f.write_str("bits")?,
                Func::Const(Num::F(v)) => write!(f, "const({v:?})")?,
                Func::Const(Num::I(v)) => write!(f, "const({v})")?,
            }
            write!(f, " {}", instr.dtype)?;
            for arg in &instr.args {
                f.write_char(' ')?;
                write!(f, "%{arg}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Program {
        let mut p = Program::new(vec![DType::F32, DType::I64, DType::F32]);
        let c = p.push(Func::Const(Num::F(f64::NEG_INFINITY)), &[], DType::F32);
        let less = p.apply(row("Less").unwrap(), &[], &[0, 2]).unwrap();
        let i = p.cast(1, DType::F32);
        let y = p.apply(row("LeakyRelu").unwrap(), &[0.1], &[i]).unwrap();
        p.apply(row("Where").unwrap(), &[], &[less, y, c]).unwrap();
        p
    }

    #[test]
    fn text_round_trips() {
        let p = sample();
        assert_eq!(
            p.to_string(),
            "const(-inf) f32; Less bool %0 %2; cast f32 %1; LeakyRelu(0.1) f32 %5; Where f32 %4 %6 %3"
        );
        assert_eq!(p.inputs_text(), "f32 i64 f32");
        assert_eq!(Program::parse("f32 i64 f32", &p.to_string()).unwrap(), p);
        for wrong in [
            "Add f32 %0 %9",
            "Add i32 %0 %2",
            "Nope f32 %0",
            "Add(1) f32 %0 %2",
            "bits f32 %1",
            "x",
            "cast",
        ] {
            assert!(Program::parse("f32 i64 f32", wrong).is_err(), "{wrong}");
        }
        assert!(Program::parse("", "").is_err());
    }

    #[test]
    fn appending_reuses_what_is_there() {
        let p = sample();
        let mut q = p.clone();
        assert_eq!(q.append(&p, &[0, 1, 2]), p.last());
        assert_eq!(q, p);
        assert_ne!(q.append(&p, &[2, 1, 0]), p.last());
        assert_eq!(q.code.len(), 7);
    }
}
