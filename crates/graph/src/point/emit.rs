//! Programs as shader text, and what keeps a program off the device.

use super::sizes::exact;
use super::{Func, Num, Program, Row, Span};
use crate::lower::{Lower, Place, Placing, is_stored};
use crate::{Error, Result};
use std::fmt::Write as _;
use tilewright_device::Param as Value;
use tilewright_kernels::{Function, View, map};
use tilewright_tensor::DType;

/// Names of the parameters of a generated function: the constants of the program and of its rows.
const CONSTANTS: [&str; 32] = [
    "map_c0", "map_c1", "map_c2", "map_c3", "map_c4", "map_c5", "map_c6", "map_c7", "map_c8",
    "map_c9", "map_c10", "map_c11", "map_c12", "map_c13", "map_c14", "map_c15", "map_c16",
    "map_c17", "map_c18", "map_c19", "map_c20", "map_c21", "map_c22", "map_c23", "map_c24",
    "map_c25", "map_c26", "map_c27", "map_c28", "map_c29", "map_c30", "map_c31",
];

/// A 64-bit integer on the device lies within these, by a check when it is uploaded.
const DEVICE_I64: Span = (i32::MIN as i128, i32::MAX as i128);

impl Program {
    /// Where a node that is this program of its inputs `operands` runs.
    pub(crate) fn place(&self, cx: &Placing<'_>, operands: &[usize]) -> Place {
        let span = |&i: &usize| {
            cx.inputs
                .opt(i)
                .and_then(|f| f.range())
                .map(|(a, b)| (a.into(), b.into()))
        };
        if cx.outputs.iter().any(|f| f.rank() > 8) {
            return Place::host("more than 8 axes");
        }
        match self.device_gap(&operands.iter().map(span).collect::<Vec<_>>()) {
            Some(reason) => Place::host(reason),
            None => Place::Device,
        }
    }

    /// Why this program cannot run on the device with inputs of these bounds; none if it can.
    pub(crate) fn device_gap(&self, inputs: &[Option<Span>]) -> Option<String> {
        let types = self.inputs.iter().chain(self.code.iter().map(|i| &i.dtype));
        if let Some(d) = types.into_iter().find(|d| !is_stored(**d)) {
            return Some(format!("{d} has no device storage"));
        }
        if self.constants() > CONSTANTS.len() {
            return Some("too many constants".into());
        }
        let fits = |s: &Span| s.0 >= DEVICE_I64.0 && s.1 <= DEVICE_I64.1;
        let mut spans: Vec<Option<Span>> = vec![];
        for (i, dtype) in self.inputs.iter().enumerate() {
            let known = inputs.get(i).copied().flatten();
            spans.push(match (dtype, known) {
                (DType::I64, Some(span)) if !fits(&span) => {
                    return Some("64-bit integers pass 32 bits".into());
                }
                (DType::I64, None) => Some(DEVICE_I64),
                (_, known) => known.or(dtype.int_range()),
            });
        }
        for instr in &self.code {
            if let Func::Row(row, _) = &instr.func
                && !self.is_float(&instr.args)
                && row.int.as_ref().is_none_or(|int| int.wgsl.is_empty())
            {
                return Some(format!("{} of integers has no kernel", row.name));
            }
            if let (Func::Bits, from) = (&instr.func, instr.args.first().map(|&a| self.dtype(a)))
                && [from, Some(instr.dtype)].contains(&Some(DType::F16))
            {
                return Some("f16 is kept as f32".into());
            }
            let span = exact(instr, &spans);
            if instr.dtype == DType::I64 && !span.as_ref().is_some_and(fits) {
                return Some("64-bit integers may pass 32 bits".into());
            }
            spans.push(super::sizes::kept(span, instr.dtype));
        }
        None
    }

    /// How many parameters the generated function has.
    pub(crate) fn constants(&self) -> usize {
        let of = |func: &Func| match func {
            Func::Const(_) => 1,
            Func::Row(row, _) => row
                .params
                .iter()
                .filter(|p| matches!(p, super::Param::Float(..)))
                .count(),
            _ => 0,
        };
        self.code.iter().map(|i| of(&i.func)).sum()
    }

    fn is_float(&self, args: &[usize]) -> bool {
        args.iter().any(|&a| self.dtype(a).is_float())
    }

    /// Emits the dispatches of a node that is this program of its inputs `operands`.
    pub(crate) fn lower(&self, cx: &mut Lower<'_>, operands: &[usize]) -> Result<()> {
        // A bound of Clip may have more axes than the output.
        let input = |i: &usize| cx.input(*i).map(View::scalar_if_one);
        let inputs = operands.iter().map(input).collect::<Result<Vec<View>>>()?;
        let out = cx.output(0)?;
        let dispatches = map(cx.caps(), &self.function()?, &inputs, &out)?;
        cx.emit(dispatches);
        Ok(())
    }

    /// The program as WGSL: `fn map(x0: .., x1: ..) -> ..` on four elements.
    pub(crate) fn function(&self) -> Result<Function> {
        let mut text = Text {
            program: self,
            body: String::new(),
            parts: vec![],
            params: vec![],
            spans: self.inputs.iter().map(|d| d.int_range()).collect(),
        };
        for (i, d) in self.inputs.iter().enumerate() {
            let boolean = if *d == DType::Bool {
                " != vec4<u32>()"
            } else {
                ""
            };
            text.line(format_args!("let v{i} = x{i}{boolean};"));
        }
        for i in 0..self.code.len() {
            text.instr(i)?;
        }
        let last = self.last();
        let result = match self.dtype(last) {
            DType::Bool => format!("select(vec4<u32>(), vec4<u32>(1u), v{last})"),
            _ => format!("v{last}"),
        };
        let stored = |d: DType| match is_stored(d) {
            true => Ok(wgsl_store(d)),
            false => Err(Error::Storage(d)),
        };
        let mut head = String::new();
        for part in &text.parts {
            let _ = writeln!(head, "//#use {part}");
        }
        for (name, value) in &text.params {
            let ty = match value {
                Value::F32(_) => "f32",
                Value::I32(_) => "i32",
                _ => "u32",
            };
            let _ = writeln!(head, "//#param {name}: {ty}");
        }
        let mut operands = vec![];
        for (i, d) in self.inputs.iter().enumerate() {
            operands.push(format!("x{i}: vec4<{}>", stored(*d)?));
        }
        let (operands, body, out) = (operands.join(", "), &text.body, stored(self.dtype(last))?);
        let wgsl =
            format!("{head}fn map({operands}) -> vec4<{out}> {{\n{body}    return {result};\n}}\n");
        Ok(Function {
            text: wgsl.into(),
            params: text.params,
        })
    }
}

/// The type by which a function takes and gives a value: bools are words.
fn wgsl_store(dtype: DType) -> &'static str {
    match class(dtype) {
        "bool" => "u32",
        class => class,
    }
}

/// The type of a value in arithmetic: f32, i32, u32 or bool.
fn class(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        d if d.is_float() => "f32",
        d if d.is_signed() => "i32",
        _ => "u32",
    }
}

/// A function being written.
struct Text<'a> {
    program: &'a Program,
    body: String,
    parts: Vec<&'static str>,
    params: Vec<(&'static str, Value)>,
    /// Bounds of the values so far by their types alone, to see where narrow integers may wrap.
    spans: Vec<Option<Span>>,
}

impl Text<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "    {line}");
    }

    fn uses(&mut self, part: &'static str) {
        if !self.parts.contains(&part) {
            self.parts.push(part);
        }
    }

    /// Adds a parameter; how it is read.
    fn param(&mut self, value: Value) -> Result<String> {
        let name = CONSTANTS
            .get(self.params.len())
            .ok_or_else(|| Error::op("Map", "too many constants"))?;
        self.params.push((name, value));
        Ok(format!("p.{name}"))
    }

    fn instr(&mut self, index: usize) -> Result<()> {
        let program = self.program;
        let instr = &program.code[index];
        let at = program.inputs.len() + index;
        let ty = class(instr.dtype);
        let span = exact(instr, &self.spans);
        let value = match &instr.func {
            Func::Const(Num::F(v)) => format!("vec4<f32>({})", self.param(Value::F32(*v as f32))?),
            Func::Const(Num::I(v)) => match ty {
                "bool" => format!("vec4<bool>({})", *v != 0),
                "i32" => format!("vec4<i32>({})", self.param(Value::I32(*v as i32))?),
                _ => format!("vec4<u32>({})", self.param(Value::U32(*v as u32))?),
            },
            // Bools are no WGSL bits; as numbers they are 0 and 1.
            Func::Bits if [ty, class(program.dtype(instr.args[0]))].contains(&"bool") => {
                self.cast(instr.args[0], instr.dtype)
            }
            Func::Bits => format!("bitcast<vec4<{ty}>>(v{})", instr.args[0]),
            Func::Cast => self.cast(instr.args[0], instr.dtype),
            Func::Row(row, params) => match self.power(row, &instr.args) {
                Some(text) => text,
                None => self.row(row, params, &instr.args)?,
            },
        };
        self.line(format_args!(
            "let v{at} = {};",
            wrapped(value, instr.dtype, span)
        ));
        self.spans.push(super::sizes::kept(span, instr.dtype));
        Ok(())
    }

    /// A row's formula with its operands and parameters in place.
    fn row(&mut self, row: &'static Row, params: &[f32], args: &[usize]) -> Result<String> {
        let float = self.program.is_float(args);
        let missing = || Error::op(row.name, "has no device form");
        let (wgsl, part) = if float {
            row.float
                .as_ref()
                .map(|f| (f.wgsl, f.part))
                .ok_or_else(missing)?
        } else {
            row.int
                .as_ref()
                .map(|f| (f.wgsl, f.part))
                .filter(|f| !f.0.is_empty())
                .ok_or_else(missing)?
        };
        // Short formulas are operators and functions of WGSL itself.
        if wgsl.contains("_f(") || wgsl.contains("_$") || wgsl.contains("is_") {
            self.uses(part);
        }
        let types: Vec<DType> = args.iter().map(|&a| self.program.dtype(a)).collect();
        let mut text = wgsl
            .replace("$T", class(types[0]))
            .replace("$bits", &types[0].bits().to_string());
        for (name, (&arg, &dtype)) in ["$x", "$y", "$z"].into_iter().zip(args.iter().zip(&types)) {
            // Pow takes an exponent of another type.
            let convert = float && !dtype.is_float() && dtype != DType::Bool;
            let operand = if convert {
                format!("vec4<f32>(v{arg})")
            } else {
                format!("v{arg}")
            };
            text = text.replace(name, &operand);
        }
        for (i, (param, &value)) in row.params.iter().zip(params).enumerate() {
            let value = match *param {
                super::Param::Float(..) => self.param(Value::F32(value))?,
                super::Param::Flag(..) => (value != 0.0).to_string(),
                super::Param::Word(_, words, _) => words[value as usize].to_lowercase(),
            };
            text = text.replace(&format!("${i}"), &value);
        }
        // A float formula whose operand was not the result's type: an integer to a float power.
        match (float, class(types[0])) {
            (true, from @ ("i32" | "u32")) => {
                self.uses("math");
                Ok(format!("to_{from}({text})"))
            }
            _ => Ok(text),
        }
    }

    /// Powers that models write for squares, roots and reciprocals.
    fn power(&self, row: &Row, args: &[usize]) -> Option<String> {
        let program = self.program;
        let (base, exponent) = (
            *args.first()?,
            args.get(1)?.checked_sub(program.inputs.len())?,
        );
        let Func::Const(Num::F(exponent)) = program.code[exponent].func else {
            return None;
        };
        if row.name != "Pow" || !program.dtype(base).is_float() {
            return None;
        }
        let x = format!("v{base}");
        match exponent {
            1.0 => Some(x),
            2.0 => Some(format!("{x} * {x}")),
            3.0 => Some(format!("{x} * {x} * {x}")),
            -1.0 => Some(format!("1.0 / {x}")),
            _ => None,
        }
    }

    fn cast(&mut self, arg: usize, to: DType) -> String {
        let from = self.program.dtype(arg);
        let x = format!("v{arg}");
        match (class(from), class(to)) {
            ("f32", "f32") if to == DType::F16 => {
                self.uses("math");
                format!("round_f16({x})")
            }
            (a, b) if a == b => x,
            ("bool", b) => format!("select(vec4<{b}>(), vec4<{b}>({b}(1)), {x})"),
            (a, "bool") => format!("{x} != vec4<{a}>()"),
            ("f32", b) => {
                self.uses("math");
                format!("to_{b}({x})")
            }
            (_, "f32") if to == DType::F16 => {
                self.uses("math");
                format!("round_f16(vec4<f32>({x}))")
            }
            (_, "f32") => format!("vec4<f32>({x})"),
            (_, b) => format!("bitcast<vec4<{b}>>({x})"),
        }
    }
}

/// The value wrapped to its type, where it may lie outside of it.
fn wrapped(value: String, dtype: DType, span: Option<Span>) -> String {
    let bits = dtype.bits();
    let inside = match (span, dtype.int_range()) {
        (Some((low, high)), Some((least, most))) => low >= least && high <= most,
        _ => false,
    };
    if bits >= 32 || !dtype.is_int() || inside {
        return value;
    }
    if dtype.is_signed() {
        let by = 32 - bits;
        format!("(({value}) << vec4<u32>({by}u)) >> vec4<u32>({by}u)")
    } else {
        format!("({value}) & vec4<u32>({}u)", (1u32 << bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::storage;
    use crate::point::{BINARY, UNARY, WHERE};
    use tilewright_device::{Caps, Slot, assemble};

    /// Puts a program through the kernel, the assembler and naga.
    fn check(program: &Program) {
        let mut half = Caps::webgpu_default();
        half.f16 = true;
        for caps in [Caps::webgpu_default(), half] {
            check_on(program, &caps);
        }
    }

    fn check_on(program: &Program, caps: &Caps) {
        let views: Vec<View> = (0..)
            .zip(&program.inputs)
            .map(|(i, d)| View::new(Slot(i), storage(*d, caps).unwrap(), [5]))
            .collect();
        let out = View::new(
            Slot(9),
            storage(program.dtype(program.last()), caps).unwrap(),
            [5],
        );
        let dispatch = map(caps, &program.function().unwrap(), &views, &out)
            .unwrap()
            .remove(0);
        let source = assemble(&dispatch.variant).unwrap();
        source
            .check(&dispatch)
            .unwrap_or_else(|e| panic!("{program}: {e}"));
        let text = source.text(0);
        let module = naga::front::wgsl::parse_str(&text)
            .unwrap_or_else(|e| panic!("{program}\n{}", e.emit_to_string(&text)));
        let mut validator = naga::valid::Validator::new(
            naga::valid::ValidationFlags::all(),
            match caps.f16 {
                true => naga::valid::Capabilities::SHADER_FLOAT16,
                false => naga::valid::Capabilities::empty(),
            },
        );
        validator
            .validate(&module)
            .unwrap_or_else(|e| panic!("{program}\n{}", e.emit_to_string(&text)));
    }

    #[test]
    fn every_row_is_valid_for_every_type() {
        let types: Vec<DType> = DType::ALL.into_iter().filter(|d| is_stored(*d)).collect();
        for row in UNARY.iter().chain(BINARY).chain([&WHERE]) {
            for &dtype in &types {
                let operands = match row.name {
                    "Where" => vec![DType::Bool, dtype, dtype],
                    _ => vec![dtype; row.arity],
                };
                for params in [row.defaults(), row.changed()] {
                    let Ok(program) = Program::of(row, &params, &operands) else {
                        continue;
                    };
                    let small = vec![Some((0, 1)); row.arity];
                    if program.device_gap(&small).is_none() {
                        check(&program);
                    }
                }
            }
        }
    }

    #[test]
    fn every_cast_is_valid() {
        let types: Vec<DType> = DType::ALL.into_iter().filter(|d| is_stored(*d)).collect();
        for (&from, &to) in types.iter().flat_map(|a| types.iter().map(move |b| (a, b))) {
            let mut program = Program::new(vec![from]);
            program.cast(0, to);
            check(&program);
        }
    }

    #[test]
    fn long_integers_stay_on_the_host_unless_they_fit() {
        let add = Program::of(
            super::super::row("Add").unwrap(),
            &[],
            &[DType::I64, DType::I64],
        )
        .unwrap();
        assert!(add.device_gap(&[None, None]).is_some());
        assert!(
            add.device_gap(&[Some((0, 1 << 30)), Some((-5, 5))])
                .is_none()
        );
        assert!(
            add.device_gap(&[Some((0, 1 << 31)), Some((0, 1 << 31))])
                .is_some()
        );
        let min = Program::of(
            super::super::row("Min").unwrap(),
            &[],
            &[DType::I64, DType::I64],
        )
        .unwrap();
        assert!(min.device_gap(&[None, None]).is_none());
        let mut cast = Program::new(vec![DType::F32]);
        cast.cast(0, DType::I64);
        assert!(cast.device_gap(&[None]).is_some());
    }

    #[test]
    fn common_powers_become_products() {
        let mut p = Program::new(vec![DType::F32]);
        let two = p.push(Func::Const(Num::F(2.0)), &[], DType::F32);
        p.apply(super::super::row("Pow").unwrap(), &[], &[0, two])
            .unwrap();
        let text = p.function().unwrap().text;
        assert!(
            text.contains("v0 * v0") && !text.contains("pow_f"),
            "{text}"
        );
    }
}
