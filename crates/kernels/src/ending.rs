//! Pointwise functions that follow reductions, normalisations and softmax in the same dispatch: `shaders/part/ending.wgsl`.

use std::fmt::Write as _;

use tilewright_device::{Caps, Dispatch};

use crate::operands::Operands;
use crate::{Error, Function, Result, View};

/// `dispatch`, which writes all of `out` (f32 or f16), with `function(result, operands..)` in the place of its result. The first
/// argument of the function is the result in f32; the operands broadcast against `out`. For the last dispatch of [`reduce`](crate::reduce) of
/// floats, of [`norm`](crate::norm), and of [`softmax`](crate::softmax).
///
/// # Errors
/// As [`map`](crate::map), and [`Error::Shape`] for another dispatch.
pub fn map_ending(
    caps: &Caps,
    mut dispatch: Dispatch,
    function: &Function,
    operands: &[View],
    out: &View,
) -> Result<Dispatch> {
    let shader = dispatch.variant.shader;
    let has = |part| dispatch.variant.parts.contains(&part);
    // A reduction stores four elements where these are neighbours on an axis that stays.
    let four = match shader {
        "reduce" => has("cols_4"),
        "norm" | "softmax" => !has("lanes_1"),
        _ => return Err(Error::shape("map", format!("{shader} has no ending"))),
    };
    let operands = Operands::new(caps, operands, out, four, None)?;
    let result = if four {
        "vec4<f32>(v)"
    } else {
        "vec4<f32>(f32(v))"
    };
    let calls = [&[result.to_string()], &operands.calls[..]]
        .concat()
        .join(", ");
    let one = if four { "" } else { ".x" };
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "//#use operands\n{}\n{}fn ending(v: Last, at: u32) -> Last {{\n    return Last(map({calls}){one});\n}}\n",
        function.text, operands.declarations
    );
    dispatch.variant = dispatch.variant.text("ending", text);
    for (name, value) in operands.sets {
        dispatch.variant = dispatch.variant.set(name, value);
    }
    dispatch.spans.extend(operands.spans);
    dispatch.params.extend(operands.params);
    dispatch.params.extend_from_slice(&function.params);
    Ok(dispatch)
}
