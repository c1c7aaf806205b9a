//! Channels from planes to pixels, padded.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::error::index;
use crate::fill::alike;
use crate::flat::{flat, words};
use crate::{Error, Result, View};

const KERNEL: &str = "interleave";

/// y\[n, spatial.., c\] = a\[n, c, spatial..\], and 0 for channels that a does not have; those of y are a multiple of four.
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Storage`], [`Error::TooLarge`].
pub fn interleave(caps: &Caps, a: &View, y: &View) -> Result<Vec<Dispatch>> {
    alike(KERNEL, caps, a, y)?;
    let wrong = || {
        let what = format!("{:?} is to be {:?}", a.shape, y.shape);
        Error::shape(KERNEL, what)
    };
    let [images, channels, spatial @ ..] = &a.shape[..] else {
        return Err(wrong());
    };
    let Some((padded, first)) = y.shape.split_last() else {
        return Err(wrong());
    };
    let same = first.first() == Some(images) && first[1..] == *spatial;
    if !same || padded < channels || padded % 4 != 0 {
        return Err(wrong());
    }
    if y.elements() == 0 {
        return Ok(vec![]);
    }
    if *channels == 0 {
        return Err(wrong());
    }
    let size = |what, n| index(KERNEL, what, n);
    size("the number of elements", y.elements())?;
    let variant = Variant::new("interleave").alias("Unit", words(y.store, false));
    let dispatch = flat(KERNEL, caps, variant, y.elements() / 4)?
        .bind("A", a.span)
        .bind("Y", y.span)
        .param("pixels", size("pixels", spatial.iter().product())?)
        .param("channels", size("channels", *channels)?)
        .param("quads", size("channels", padded / 4)?);
    Ok(vec![dispatch.work(a.span.bytes + y.span.bytes)])
}
