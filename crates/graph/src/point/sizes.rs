//! What is known of a program's result before it runs: shape, symbolic sizes, bounds.

use super::eval::wrap;
use super::program::Instr;
use super::{Func, Num, Program, Span};
use crate::dim::Dim;
use crate::fact::{MAX_FOLLOWED, broadcast};
use crate::{Fact, Result};
use tilewright_tensor::DType;

/// The fact of the result.
pub(crate) fn facts(op: &'static str, program: &Program, inputs: &[&Fact]) -> Result<Fact> {
    let shapes: Vec<&[Dim]> = inputs.iter().map(|f| &f.shape[..]).collect();
    let shape = broadcast(op, &shapes)?;
    let dtype = program.dtype(program.last());
    if !dtype.is_float() && inputs.iter().any(|f| f.is_symbolic()) {
        let plain: Option<Vec<usize>> = shape.iter().map(|d| d.known()?.try_into().ok()).collect();
        if let Some(plain) = plain
            && let Some(dims) = follow(program, inputs, &plain)
        {
            return Ok(Fact::of_dims(dtype, &plain, dims));
        }
    }
    let fact = Fact::new(dtype, shape);
    let bounds = ranges(program, &spans(inputs)).pop().flatten();
    Ok(match bounds {
        Some((low, high)) if dtype.is_int() => match (low.try_into(), high.try_into()) {
            (Ok(low), Ok(high)) => fact.with_range(low, high),
            _ => fact,
        },
        _ => fact,
    })
}

/// Bounds of the inputs, where they are known.
fn spans(inputs: &[&Fact]) -> Vec<Option<Span>> {
    let of = |fact: &&Fact| fact.range().map(|(a, b)| (a.into(), b.into()));
    inputs.iter().map(of).collect()
}

/// Bounds of every value of a program: none for floats and where nothing is known.
fn ranges(program: &Program, inputs: &[Option<Span>]) -> Vec<Option<Span>> {
    let mut spans = inputs.to_vec();
    for instr in &program.code {
        spans.push(kept(exact(instr, &spans), instr.dtype));
    }
    spans
}

/// Bounds of an instruction's result before it wraps, from those of all values before it.
pub(super) fn exact(instr: &Instr, spans: &[Option<Span>]) -> Option<Span> {
    let args: Option<Vec<Span>> = instr.args.iter().map(|&a| spans[a]).collect();
    match &instr.func {
        Func::Row(row, _) => (row.int.as_ref()?.span)(&args?),
        Func::Cast if instr.dtype == DType::Bool => Some((0, 1)),
        // A float of unknown size may become any integer.
        Func::Cast => Some(args?[0]),
        Func::Const(Num::I(v)) => Some((*v, *v)),
        Func::Const(Num::F(_)) | Func::Bits => None,
    }
}

/// Bounds after wrapping: the exact ones where the type holds them, else those of a type of up to 32 bits.
pub(super) fn kept(exact: Option<Span>, dtype: DType) -> Option<Span> {
    let all = dtype.int_range()?;
    match exact {
        Some((low, high)) if low >= all.0 && high <= all.1 => exact,
        _ => (dtype.bits() <= 32).then_some(all),
    }
}

/// The elements of the result as symbolic sizes, if all can be told.
fn follow(program: &Program, inputs: &[&Fact], shape: &[usize]) -> Option<Vec<Dim>> {
    let shape = tilewright_tensor::Shape::from(shape);
    let elements = shape.elements().ok().filter(|&n| n <= MAX_FOLLOWED)?;
    let mut columns: Vec<Vec<Option<Dim>>> = vec![];
    for fact in inputs {
        let own: Option<Vec<usize>> = fact.known_shape();
        let strides = tilewright_tensor::Shape::from(own?)
            .broadcast_strides(&shape)
            .ok()?;
        let dims = fact.dims();
        let of = |[i]: [usize; 1]| dims.as_ref().and_then(|d| d.get(i).cloned());
        columns.push(shape.offsets([&strides]).map(of).collect());
    }
    for instr in &program.code {
        let one = |i: usize| {
            let args: Vec<Option<&Dim>> =
                instr.args.iter().map(|&a| columns[a][i].as_ref()).collect();
            match &instr.func {
                Func::Row(row, params) => symbolic(row.name, params, &args, instr.dtype),
                Func::Cast if instr.dtype == DType::Bool => {
                    truth(compare("Equal", args[0]?, &0i64.into()).map(|t| !t))
                }
                Func::Cast if instr.dtype.is_float() => None,
                // A size that fits no narrower type is refused when memory is asked for, so it does not wrap.
                Func::Cast => match args[0]?.known() {
                    Some(n) => plain(wrap(instr.dtype, n.into())),
                    None => args[0].cloned(),
                },
                Func::Const(Num::I(v)) => plain(*v),
                Func::Const(Num::F(_)) | Func::Bits => None,
            }
        };
        columns.push((0..elements).map(one).collect());
    }
    columns.pop()?.into_iter().collect()
}

fn plain(v: i128) -> Option<Dim> {
    i64::try_from(v).ok().map(Dim::from)
}

fn truth(t: Option<bool>) -> Option<Dim> {
    t.map(|t| i64::from(t).into())
}

/// A row on symbolic sizes; none where the result depends on the symbols' values in a way that sizes cannot say.
fn symbolic(name: &str, params: &[f32], args: &[Option<&Dim>], dtype: DType) -> Option<Dim> {
    if let Some(dim) = in_part(name, args) {
        return dim;
    }
    let known: Option<Vec<&Dim>> = args.iter().copied().collect();
    let args = known?;
    // All plain: the row itself says.
    let plainly = args.iter().map(|d| d.known().map(i128::from));
    if let Some(plainly) = plainly.collect::<Option<Vec<_>>>() {
        let int = super::row(name).ok()?.int.as_ref()?;
        return plain(wrap(dtype, (int.host)(&plainly, params, dtype)));
    }
    let fmod = params.first().is_some_and(|&p| p != 0.0);
    match (name, &args[..]) {
        ("Add", &[a, b]) => Some(a.clone() + b.clone()),
        ("Sub", &[a, b]) => Some(a.clone() - b.clone()),
        ("Mul", &[a, b]) => Some(a.clone() * b.clone()),
        ("Neg", &[a]) => Some(Dim::from(0i64) - a.clone()),
        ("Abs" | "Relu", &[a]) if a.at_least_zero() => Some(a.clone()),
        ("Sign", &[a]) if a.at_least_one() => Some(1i64.into()),
        // Truncation is rounding down where nothing is negative.
        ("Div", &[a, b]) if a.at_least_zero() && b.at_least_one() => Some(a.floor_div(b)),
        ("Mod", &[a, b]) if b.at_least_one() && (!fmod || a.at_least_zero()) => Some(a.modulo(b)),
        ("Min", &[a, b]) => Some(a.smaller(b)),
        ("Max", &[a, b]) => Some(a.larger(b)),
        ("Not", &[a]) => truth(a.known().map(|a| a == 0)),
        (_, &[a, b]) => truth(compare(name, a, b)),
        _ => None,
    }
}

/// Rows that need not know all operands: what they come to, if they are settled.
fn in_part(name: &str, args: &[Option<&Dim>]) -> Option<Option<Dim>> {
    let has = |n: i64| args.iter().flatten().any(|d| d.known() == Some(n));
    match (name, args) {
        ("Where", [condition, yes, no]) => {
            let chosen = condition
                .and_then(Dim::known)
                .map(|c| if c != 0 { yes } else { no });
            Some(chosen.and_then(|d| d.cloned()))
        }
        ("And" | "Mul", [_, _]) if has(0) => Some(Some(0i64.into())),
        ("Or", [_, _]) if has(1) => Some(Some(1i64.into())),
        _ => None,
    }
}

/// A comparison of sizes that holds whatever the symbols are.
fn compare(name: &str, a: &Dim, b: &Dim) -> Option<bool> {
    let up = a.clone() - b.clone();
    let down = b.clone() - a.clone();
    let less = down.at_least_one();
    let greater = up.at_least_one();
    let equal = up.known() == Some(0);
    match name {
        "Equal" if equal => Some(true),
        "Equal" if less || greater => Some(false),
        "Less" if less => Some(true),
        "Less" if up.at_least_zero() => Some(false),
        "Greater" if greater => Some(true),
        "Greater" if down.at_least_zero() => Some(false),
        "LessOrEqual" => compare("Greater", a, b).map(|t| !t),
        "GreaterOrEqual" => compare("Less", a, b).map(|t| !t),
        _ => None,
    }
}
