//! Dispatches in which every invocation does one piece of work, counted flat.

use tilewright_device::{Caps, Dispatch, Variant, fold_groups};

use crate::error::index;
use crate::{Result, Store};

const THREADS: u32 = 64;

/// A dispatch of at least `count` invocations of `shader`, which reads THREADS and the parameter `count`.
pub(crate) fn flat(
    kernel: &'static str,
    caps: &Caps,
    variant: Variant,
    count: usize,
) -> Result<Dispatch> {
    let count = index(kernel, "the number of invocations", count)?;
    let groups = u64::from(count.div_ceil(THREADS));
    Ok(Dispatch::new(variant.set("THREADS", THREADS))
        .param("count", count)
        .groups(fold_groups(groups, caps.limits.groups)))
}

/// The type by which elements are moved, one or four at a time.
pub(crate) fn words(store: Store, wide: bool) -> &'static str {
    match (store, wide) {
        (Store::F16, false) => "f16",
        (Store::F16, true) => "vec4<f16>",
        (_, false) => "u32",
        (_, true) => "vec4<u32>",
    }
}

/// The type whose bits stand for a known element in a parameter: f16 is given as f32.
pub(crate) fn known(store: Store) -> &'static str {
    match store {
        Store::F16 => "f32",
        _ => "u32",
    }
}

/// Up to 8 values of a `dims` parameter.
pub(crate) fn dims(values: impl IntoIterator<Item = u32>) -> [u32; 8] {
    let mut out = [0; 8];
    for (place, value) in out.iter_mut().zip(values) {
        *place = value;
    }
    out
}
