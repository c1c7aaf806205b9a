//! Pointwise functions: what happens to each element on its own.
//!
//! A function is a [`Row`] of a table (a file each would differ in two lines): its ONNX name, its attributes, its
//! formula on the host and in WGSL. A [`Program`] is a list of such rows over inputs and constants; a single operator
//! is a program of one instruction, and fusion makes longer ones. Types, evaluation, symbolic sizes and shader text are
//! written once, for programs.

mod binary;
mod emit;
mod eval;
mod program;
mod sizes;
mod unary;

pub(crate) use binary::{BINARY, BINARY_NAMES, WHERE};
pub(crate) use program::{Func, Num, Program};
pub(crate) use sizes::facts;
pub(crate) use unary::{UNARY, UNARY_NAMES};

use crate::lower::{Lower, Place, Placing};
use crate::{Attrs, Error, Result};
use tilewright_tensor::DType;

/// A pointwise function.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its ONNX name.
    pub(crate) name: &'static str,
    /// How many operands it has.
    pub(crate) arity: usize,
    /// Its attributes, in the order of `$0`, `$1` in the texts.
    pub(crate) params: &'static [Param],
    /// The operands' types.
    pub(crate) takes: Takes,
    /// True if the result is bool instead of the type of the (first) operand.
    pub(crate) truth: bool,
    /// The formula where an operand is a float.
    pub(crate) float: Option<Float>,
    /// The formula where all operands are integers or booleans.
    pub(crate) int: Option<Int>,
    /// Where test inputs lie: the domain, and not beyond what f32 holds.
    pub(crate) domain: (f32, f32),
}

/// A formula on floats.
#[derive(Debug)]
pub(crate) struct Float {
    /// In f64, of operands and parameters; rounded once to the result's type.
    pub(crate) host: fn(&[f64], &[f32]) -> f64,
    /// In WGSL over `vec4<f32>`: operands are `$x`, `$y`, `$z`, parameters `$0`, `$1`.
    pub(crate) wgsl: &'static str,
    /// The part of the shader library that the text needs, besides `math`.
    pub(crate) part: &'static str,
}

/// A formula on integers and booleans.
#[derive(Debug)]
pub(crate) struct Int {
    /// Exact; wrapped to the result's type afterwards. The type is that of the first operand.
    pub(crate) host: fn(&[i128], &[f32], DType) -> i128,
    /// In WGSL, with `$T` for `i32` or `u32`; empty where there is no device form.
    pub(crate) wgsl: &'static str,
    /// The part of the shader library that the text needs.
    pub(crate) part: &'static str,
    /// Bounds of the exact result, from bounds of the operands.
    pub(crate) span: fn(&[Span]) -> Option<Span>,
}

/// Bounds of an integer, both inclusive.
pub(crate) type Span = (i128, i128);

/// Which types the operands may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Floats.
    Floats,
    /// Floats and signed integers.
    Signed,
    /// Floats and integers.
    Numbers,
    /// Integers.
    Ints,
    /// Booleans.
    Bools,
    /// All of one type.
    Any,
    /// Numbers, of different types too; the result has the first one's.
    Mixed,
    /// A bool, then two of one type, which is the result's.
    Choice,
}

/// An attribute of a row.
#[derive(Debug)]
pub(crate) enum Param {
    /// A float with its default.
    Float(&'static str, f32),
    /// An integer used as truth value, with its default.
    Flag(&'static str, bool),
    /// One of some words; the default is the first, unless it must be given. In WGSL it is the word in lower case.
    Word(&'static str, &'static [&'static str], bool),
}

impl Row {
    pub(crate) const fn float(
        name: &'static str,
        arity: usize,
        host: fn(&[f64], &[f32]) -> f64,
        wgsl: &'static str,
    ) -> Row {
        Row {
            name,
            arity,
            params: &[],
            takes: Takes::Floats,
            truth: false,
            float: Some(Float {
                host,
                wgsl,
                part: "math",
            }),
            int: None,
            domain: (-4.0, 4.0),
        }
    }

    /// A row without a float form; [`Row::int`] gives the other.
    pub(crate) const fn exact(name: &'static str, arity: usize, takes: Takes) -> Row {
        Row {
            name,
            arity,
            params: &[],
            takes,
            truth: false,
            float: None,
            int: None,
            domain: (-4.0, 4.0),
        }
    }

    pub(crate) const fn params(self, params: &'static [Param]) -> Row {
        Row { params, ..self }
    }

    pub(crate) const fn takes(self, takes: Takes) -> Row {
        Row { takes, ..self }
    }

    pub(crate) const fn truth(self) -> Row {
        Row {
            truth: true,
            ..self
        }
    }

    pub(crate) const fn domain(self, low: f32, high: f32) -> Row {
        Row {
            domain: (low, high),
            ..self
        }
    }

    /// Names the part that holds the float formula's functions.
    pub(crate) const fn part(self, part: &'static str) -> Row {
        let float = match self.float {
            Some(f) => Some(Float { part, ..f }),
            None => None,
        };
        Row { float, ..self }
    }

    pub(crate) const fn int(
        self,
        host: fn(&[i128], &[f32], DType) -> i128,
        wgsl: &'static str,
        span: fn(&[Span]) -> Option<Span>,
    ) -> Row {
        Row {
            int: Some(Int {
                host,
                wgsl,
                part: "math_int",
                span,
            }),
            ..self
        }
    }

    /// The values of the parameters from attributes; defaults where they are absent.
    pub(crate) fn read(&self, attrs: &Attrs) -> Result<Vec<f32>> {
        let one = |param: &Param| match *param {
            Param::Float(name, default) => attrs.or(name, default),
            Param::Flag(name, default) => Ok(f32::from(u8::from(attrs.or(name, default)?))),
            Param::Word(name, words, required) => {
                let word = match attrs.opt::<String>(name)? {
                    None if required => attrs.need::<String>(name)?,
                    None => words[0].into(),
                    Some(word) => word,
                };
                let found = words.iter().position(|w| *w == word);
                found.map(|i| i as f32).ok_or_else(|| {
                    Error::op(
                        self.name,
                        format!("`{name}` must be one of {words:?}, got {word}"),
                    )
                })
            }
        };
        self.params.iter().map(one).collect()
    }

    /// The attributes that [`Row::read`] makes these values of.
    pub(crate) fn attrs(&self, values: &[f32]) -> Attrs {
        let mut attrs = Attrs::new(self.name);
        for (param, &value) in self.params.iter().zip(values) {
            attrs = match *param {
                Param::Float(name, _) => attrs.with(name, value),
                Param::Flag(name, _) => attrs.with(name, value != 0.0),
                Param::Word(name, words, _) => attrs.with(name, words[value as usize].to_string()),
            };
        }
        attrs
    }

    /// The values of the parameters where no attribute is given.
    pub(crate) fn defaults(&self) -> Vec<f32> {
        let one = |param: &Param| match *param {
            Param::Float(_, value) => value,
            Param::Flag(_, value) => f32::from(u8::from(value)),
            Param::Word(..) => 0.0,
        };
        self.params.iter().map(one).collect()
    }

    /// Other values than the defaults, for tests.
    pub(crate) fn changed(&self) -> Vec<f32> {
        let one = |param: &Param| match *param {
            Param::Float(_, value) => value + 0.25,
            Param::Flag(_, value) => f32::from(u8::from(!value)),
            Param::Word(..) => 1.0,
        };
        self.params.iter().map(one).collect()
    }

    /// The type of the result.
    pub(crate) fn result(&self, operands: &[DType]) -> Result<DType> {
        let fits = |d: DType| match self.takes {
            Takes::Floats => d.is_float(),
            Takes::Signed => d.is_signed(),
            Takes::Numbers | Takes::Mixed => d != DType::Bool,
            Takes::Ints => d.is_int(),
            Takes::Bools => d == DType::Bool,
            Takes::Any | Takes::Choice => true,
        };
        let [first, rest @ ..] = operands else {
            return Err(Error::op(self.name, "no operand"));
        };
        let alike = match self.takes {
            Takes::Mixed => true,
            Takes::Choice => *first == DType::Bool && rest.windows(2).all(|w| w[0] == w[1]),
            _ => rest.iter().all(|d| d == first),
        };
        if operands.len() != self.arity || !alike || !operands.iter().all(|d| fits(*d)) {
            let names: Vec<_> = operands.iter().map(|d| d.name()).collect();
            let expected = match self.takes {
                Takes::Floats => "floats of one type",
                Takes::Signed => "floats or signed integers of one type",
                Takes::Numbers => "numbers of one type",
                Takes::Ints => "integers of one type",
                Takes::Bools => "bool",
                Takes::Any => "one type",
                Takes::Mixed => "numbers",
                Takes::Choice => "bool and two of one type",
            };
            return Err(Error::op(
                self.name,
                format!(
                    "expected {} inputs, {expected}; got {}",
                    self.arity,
                    names.join(", ")
                ),
            ));
        }
        Ok(match (self.truth, self.takes) {
            (true, _) => DType::Bool,
            (false, Takes::Choice) => rest.first().copied().unwrap_or(*first),
            _ => *first,
        })
    }
}

/// The row of that name.
pub(crate) fn row(name: &str) -> Result<&'static Row> {
    let all = UNARY.iter().chain(BINARY).chain([&WHERE]);
    let mut found = all.filter(|row| row.name == name);
    found
        .next()
        .ok_or_else(|| Error::UnknownOp { name: name.into() })
}

/// An operator that is a program of its inputs.
pub(crate) trait Pointwise {
    /// The program for inputs of these types (none where one is left out), and which of them it reads.
    fn program(&self, types: &[Option<DType>]) -> Result<(Program, Vec<usize>)>;
}

/// The types of the first `count` inputs; an error if one is left out.
pub(crate) fn operands(op: &str, types: &[Option<DType>], count: usize) -> Result<Vec<DType>> {
    let need = |i: usize| {
        let found = types.get(i).copied().flatten();
        found.ok_or_else(|| Error::op(op, format!("input {i} is missing")))
    };
    (0..count).map(need).collect()
}

/// Where a pointwise operator runs.
pub(crate) fn place(op: &impl Pointwise, cx: &Placing<'_>) -> Place {
    let types: Vec<_> = (0..cx.inputs.len())
        .map(|i| cx.inputs.opt(i).map(|f| f.dtype))
        .collect();
    match op.program(&types) {
        Ok((program, operands)) => program.place(cx, &operands),
        Err(e) => Place::host(e.to_string()),
    }
}

/// Emits the one dispatch of a pointwise operator.
pub(crate) fn lower(op: &impl Pointwise, cx: &mut Lower<'_>) -> Result<()> {
    let types: Vec<_> = (0..cx.input_count()).map(|i| cx.input_dtype(i)).collect();
    let (program, operands) = op.program(&types)?;
    program.lower(cx, &operands)
}

/// The names of a table's rows, as a constant.
pub(crate) const fn names<const N: usize>(rows: &[Row; N]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut i = 0;
    while i < N {
        names[i] = rows[i].name;
        i += 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked() {
        let result = |name: &str, types: &[DType]| row(name).unwrap().result(types);
        assert_eq!(result("Add", &[DType::I8, DType::I8]).unwrap(), DType::I8);
        assert_eq!(
            result("Pow", &[DType::I32, DType::F32]).unwrap(),
            DType::I32
        );
        assert_eq!(
            result("Less", &[DType::F16, DType::F16]).unwrap(),
            DType::Bool
        );
        let choice = [DType::Bool, DType::U64, DType::U64];
        assert_eq!(result("Where", &choice).unwrap(), DType::U64);
        let error = result("Add", &[DType::F32, DType::I32]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Add: expected 2 inputs, numbers of one type; got f32, i32"
        );
        assert!(result("Exp", &[DType::I32]).is_err());
        assert!(result("Not", &[DType::U8]).is_err());
        assert!(result("Neg", &[DType::U8]).is_err());
        assert!(result("Where", &[DType::Bool, DType::F32, DType::F64]).is_err());
        assert!(result("Add", &[DType::F32]).is_err());
    }

    #[test]
    fn words_are_checked() {
        let gelu = row("Gelu").unwrap();
        let attrs = Attrs::new("Gelu").with("approximate", "tanh".to_string());
        assert_eq!(gelu.read(&attrs).unwrap(), [1.0]);
        assert_eq!(gelu.attrs(&[1.0]), attrs);
        assert_eq!(gelu.read(&Attrs::new("Gelu")).unwrap(), gelu.defaults());
        let wrong = Attrs::new("Gelu").with("approximate", "sigmoid".to_string());
        assert!(gelu.read(&wrong).is_err());
        assert!(
            row("BitShift")
                .unwrap()
                .read(&Attrs::new("BitShift"))
                .is_err()
        );
    }
}
