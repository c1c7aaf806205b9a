//! f16 operands of operators whose kernels take f32: casts before and after.

use crate::lower::{Lower, SlotUse};
use crate::op::Operand;
use crate::{Error, Op, Result};
use tilewright_device::{Dispatch, Slot};
use tilewright_kernels::{Function, Store, View, map};
use tilewright_tensor::DType;

/// An f16 tensor and what the operator sees in its place.
struct StandIn {
    half: View,
    wide: View,
}

/// Lowers a node, with f32 in the place of each f16 operand that the operator does not take as it lies.
pub(crate) fn lower(op: &Op, cx: &mut Lower<'_>) -> Result<()> {
    let inputs = inputs(op, cx)?;
    let outputs = outputs(op, cx)?;
    if inputs.is_empty() && outputs.is_empty() {
        return op.lower(cx);
    }
    op.lower(cx)?;
    let emitted = std::mem::take(&mut cx.emitted);
    let used = |slot: Slot| {
        let spans = emitted.iter().flat_map(|d: &Dispatch| &d.spans);
        spans.into_iter().any(|(_, span)| span.slot == slot)
    };
    let mut all = vec![];
    for (i, StandIn { half, wide }) in inputs {
        let slot = wide.span.slot;
        let place = if !used(slot) {
            // Only its shape was asked for, or a packed form.
            SlotUse::Alias(half.span.slot)
        } else if cx.weight(i).is_some() {
            let wide = cx.derived(i, "f32", |t| Ok(t.cast(DType::F32)?))?;
            SlotUse::Alias(wide.span.slot)
        } else {
            all.extend(cast(cx, &half, &wide)?);
            continue;
        };
        cx.slots[slot.0 as usize] = place;
    }
    let after = outputs.iter().filter(|o| used(o.wide.span.slot));
    let after = after.map(|o| cast(cx, &o.wide, &o.half));
    let after = after.collect::<Result<Vec<_>>>()?;
    all.extend(emitted);
    all.extend(after.into_iter().flatten());
    cx.emitted = all;
    Ok(())
}

fn inputs(op: &Op, cx: &mut Lower<'_>) -> Result<Vec<(usize, StandIn)>> {
    let mut made = vec![];
    for i in 0..cx.inputs.len() {
        if !op.half(Operand::Input(i))
            && let Some(half) = cx.opt_input(i).filter(|v| v.store == Store::F16)
        {
            let wide = stand_in(cx, &half)?;
            if let Some(Some((view, _))) = cx.inputs.get_mut(i) {
                *view = wide.clone();
            }
            made.push((i, StandIn { half, wide }));
        }
    }
    Ok(made)
}

fn outputs(op: &Op, cx: &mut Lower<'_>) -> Result<Vec<StandIn>> {
    let mut made = vec![];
    for i in 0..cx.outputs.len() {
        if !op.half(Operand::Output(i))
            && let Some(half) = cx.opt_output(i).filter(|v| v.store == Store::F16)
        {
            let wide = stand_in(cx, &half)?;
            if let Some(Some((view, _))) = cx.outputs.get_mut(i) {
                *view = wide.clone();
            }
            made.push(StandIn { half, wide });
        }
    }
    Ok(made)
}

fn stand_in(cx: &mut Lower<'_>, half: &View) -> Result<View> {
    let (bytes, limit) = (
        Store::F32.bytes(&half.shape),
        cx.caps().limits.binding_bytes,
    );
    if bytes > limit {
        let what = format!("{half} in f32");
        return Err(Error::Limit { what, limit });
    }
    // Never scratch that was used before: it may become another name for the tensor that it stands for.
    let slot = cx.slot(SlotUse::Arena { bytes });
    Ok(View::new(slot, Store::F32, half.shape.clone()))
}

/// The dispatches that copy floats to floats of another storage.
pub(crate) fn cast(cx: &Lower<'_>, from: &View, to: &View) -> Result<Vec<Dispatch>> {
    let same = Function {
        text: "fn map(x0: vec4<f32>) -> vec4<f32> {\n    return x0;\n}\n".into(),
        params: vec![],
    };
    Ok(map(cx.caps(), &same, std::slice::from_ref(from), to)?)
}
