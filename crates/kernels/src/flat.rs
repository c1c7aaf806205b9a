//! Dispatches in which every invocation does one piece of work, counted flat.

use tilewright_device::{Caps, Dispatch, Variant, fold_groups};

use crate::Result;
use crate::error::index;

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

/// The element type of `words` 32-bit words at a time.
pub(crate) fn words(wide: bool) -> &'static str {
    if wide { "vec4<u32>" } else { "u32" }
}

/// Up to 8 values of a `dims` parameter.
pub(crate) fn dims(values: impl IntoIterator<Item = u32>) -> [u32; 8] {
    let mut out = [0; 8];
    for (place, value) in out.iter_mut().zip(values) {
        *place = value;
    }
    out
}
