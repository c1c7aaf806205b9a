//! Pointwise functions of tensors that broadcast: `shaders/map.wgsl`, and the same as epilogues of products.

use std::fmt::Write as _;
use std::sync::Arc;

use tilewright_device::{Caps, Dispatch, Param, Variant, fold_groups};

use crate::operands::{MOST, Operands, element};
use crate::{Epilogue, Error, Result, View};

const KERNEL: &str = "map";
/// Two subgroups of the widest kind; nothing is shared within a workgroup.
const THREADS: u32 = 64;

/// A generated pointwise function.
///
/// The text defines `fn map(x0: vec4<T0>, x1: vec4<T1>, ..) -> vec4<T>` over four elements at a time, with types f32, i32
/// or u32 as the operands are stored (bools are u32, 0 or 1; f16 is f32). It may use parts and declare parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// The WGSL text.
    pub text: Arc<str>,
    /// Its parameters and their values.
    pub params: Vec<(&'static str, Param)>,
}

/// How many inputs one dispatch can have: each is a storage buffer, and so is the output.
#[must_use]
pub fn map_inputs(caps: &Caps) -> usize {
    MOST.min((caps.limits.storage_buffers as usize).saturating_sub(1))
}

/// `out = function(inputs)`, element by element; inputs broadcast against `out`'s shape as in NumPy.
///
/// # Errors
/// [`Error::Shape`] where an input does not broadcast or there are too many, [`Error::Storage`] for packed storage (and for
/// f16 where the adapter has none), [`Error::TooLarge`] for more than 2^32 elements.
pub fn map(caps: &Caps, function: &Function, inputs: &[View], out: &View) -> Result<Vec<Dispatch>> {
    if inputs.len() > map_inputs(caps) {
        return Err(Error::shape(
            KERNEL,
            format!("{} inputs are too many", inputs.len()),
        ));
    }
    if out.elements() == 0 {
        return Ok(vec![]);
    }
    let operands = Operands::new(caps, inputs, out, true, None)?;
    let y = element(caps, "the output", out.store)?;
    let (declarations, calls) = (&operands.declarations, operands.calls.join(", "));
    let value = if y == "f16" { "f32" } else { y };
    let call =
        format!("{declarations}fn map_at(at: u32) -> vec4<{value}> {{ return map({calls}); }}\n");
    let mut variant = Variant::new("map")
        .text("function", function.text.clone())
        .text("map_at", call)
        .set("THREADS", THREADS)
        .alias("YT", y);
    for (name, value) in operands.sets {
        variant = variant.set(name, value);
    }
    let mut dispatch = Dispatch::new(variant);
    dispatch.spans = operands.spans;
    dispatch.params = operands.params;
    dispatch.params.extend_from_slice(&function.params);
    let quads = out.elements().div_ceil(4);
    let groups = quads.div_ceil(THREADS as usize) as u64;
    let bytes: u64 = inputs.iter().chain([out]).map(|v| v.span.bytes).sum();
    Ok(vec![
        dispatch
            .bind("Y", out.span)
            .groups(fold_groups(groups, caps.limits.groups))
            .work(bytes),
    ])
}

/// Where an epilogue reads what depends on its column alone.
const COLUMN: &str = "place.n / 4u";
/// Lines of a function whose text a loop may not repeat for each of its rows: a line is an operation.
const LIGHT: usize = 16;

/// The epilogue `function(before(product), operands..)` of a product that is stored as `out` (f32 or f16, contiguous). The first
/// argument of the function is the product; the operands broadcast against `out`. `quads` says that the four elements that
/// an epilogue sees begin at a multiple of four in `out`.
///
/// # Errors
/// As [`map`].
pub fn map_epilogue(
    caps: &Caps,
    before: Option<Epilogue>,
    function: &Function,
    operands: &[View],
    out: &View,
    quads: bool,
) -> Result<Epilogue> {
    let operands = Operands::new(caps, operands, out, quads, Some(COLUMN))?;
    let mut text = String::new();
    let mut fields = vec![];
    let (value, mut all) = match before {
        Some(before) if before.by_columns => {
            fields.push((
                "before: ColumnsBefore".to_owned(),
                "columns_before(n)".to_owned(),
            ));
            let renamed = before
                .text
                .replace("fn epilogue_at(", "fn epilogue_before(");
            let renamed = renamed.replace("fn columns(", "fn columns_before(");
            text.push_str(&renamed.replace("Columns", "ColumnsBefore"));
            ("epilogue_before(v, place, own.before)", before)
        }
        Some(before) => {
            text.push_str(&before.text.replace("fn epilogue(", "fn epilogue_before("));
            ("epilogue_before(v, place)", before)
        }
        None => ("v", {
            let mut none = Epilogue::new("");
            none.light = true;
            none
        }),
    };
    let mut calls = vec![value.to_owned()];
    let mut by_place = false;
    for call in operands.calls {
        // Only operands that are read in quads of the output's shape are read by column: load_s0, load_s1, ..
        match call
            .strip_suffix(&format!("({COLUMN})"))
            .and_then(|load| load.strip_prefix("load_s"))
        {
            Some(i) => {
                fields.push((
                    format!("of{i}: vec4<MAP_SV{i}>"),
                    format!("load_s{i}(n / 4u)"),
                ));
                calls.push(format!("own.of{i}"));
            }
            None => {
                by_place = true;
                calls.push(call);
            }
        }
    }
    let calls = calls.join(", ");
    let at = if quads { "place.at / 4u" } else { "place.at" };
    all.light &= !by_place && function.text.lines().count() < LIGHT;
    all.by_columns = !fields.is_empty();
    let (form, own) = match all.by_columns {
        true => {
            let (types, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
            let (types, values) = (types.join(", "), values.join(", "));
            let form = format!(
                "struct Columns {{ {types} }}\nfn columns(n: u32) -> Columns {{ return Columns({values}); }}\n\
                 fn epilogue_at"
            );
            (form, ", own: Columns")
        }
        false => ("fn epilogue".to_owned(), ""),
    };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "//#use operands\n{}\n{}{form}(v: vec4<Value>, place: Place{own}) -> vec4<Value> {{\n    \
         let at = {at};\n    return map({calls});\n}}\n",
        function.text, operands.declarations
    );
    all.text = text.into();
    all.spans.extend(operands.spans);
    all.params.extend(operands.params);
    all.params.extend_from_slice(&function.params);
    all.sets.extend(operands.sets);
    Ok(all)
}
