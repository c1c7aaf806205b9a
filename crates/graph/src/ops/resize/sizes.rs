//! Sizes of a resized tensor, from scales or targets.

use super::AspectPolicy;
use crate::dim::Dim;
use crate::{Error, Result};

/// An axis being resized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Elements of the input.
    pub(super) input: usize,
    /// Elements of the output.
    pub(super) output: usize,
    /// Output per input; times `input` it is near `output`, but need not be whole.
    pub(super) scale: f64,
    /// Start and end of the region, in units of the axis.
    pub(super) region: (f64, f64),
}

impl Extent {
    /// An axis that stays.
    pub(super) fn identity(size: usize) -> Extent {
        Extent {
            input: size,
            output: size,
            scale: 1.0,
            region: (0.0, 1.0),
        }
    }

    /// True if nothing happens along the axis.
    pub(super) fn is_identity(&self) -> bool {
        self.input == self.output && self.scale == 1.0 && self.region == (0.0, 1.0)
    }
}

/// What decides the sizes.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// Factors.
    Scales(Vec<f64>),
    /// Sizes.
    Sizes(Vec<i64>),
}

impl Target {
    /// What becomes of axes of the sizes `from`.
    pub(super) fn extents(
        &self,
        op: &str,
        policy: AspectPolicy,
        from: &[usize],
    ) -> Result<Vec<Extent>> {
        let found: Vec<Extent> = match self {
            Target::Scales(scales) => {
                check(op, from, scales.len())?;
                let one = |(&input, &scale): (&usize, &f64)| {
                    let (p, q) = fraction(op, scale)?;
                    let output = scaled(op, &input.into(), scale)?.known().unwrap_or(0);
                    Ok(Extent {
                        output: usize::try_from(output).unwrap_or(0),
                        scale: p as f64 / q as f64,
                        ..Extent::identity(input)
                    })
                };
                from.iter().zip(scales).map(one).collect::<Result<_>>()?
            }
            Target::Sizes(sizes) => {
                check(op, from, sizes.len())?;
                let bad = || Error::op(op, format!("sizes {sizes:?}"));
                let plain = sizes.iter().map(|&n| usize::try_from(n).map_err(|_| bad()));
                kept(policy, from, &plain.collect::<Result<Vec<_>>>()?)
            }
        };
        if found.iter().any(|e| e.input == 0 && e.output > 0) {
            return Err(Error::op(op, "an empty axis cannot be enlarged"));
        }
        Ok(found)
    }
}

/// Sizes under a policy.
pub(super) fn kept(policy: AspectPolicy, from: &[usize], to: &[usize]) -> Vec<Extent> {
    let scale = |(&input, &output): (&usize, &usize)| output as f64 / input.max(1) as f64;
    let scales = || from.iter().zip(to).map(scale);
    let common = match policy {
        AspectPolicy::Stretch => None,
        AspectPolicy::NotLarger => scales().reduce(f64::min),
        AspectPolicy::NotSmaller => scales().reduce(f64::max),
    };
    let one = |(pair, own): ((&usize, &usize), f64)| Extent {
        output: common.map_or(*pair.1, |s| (s * *pair.0 as f64 + 0.5).floor() as usize),
        scale: common.unwrap_or(own),
        ..Extent::identity(*pair.0)
    };
    from.iter().zip(to).zip(scales()).map(one).collect()
}

/// `floor(size * scale)`.
pub(super) fn scaled(op: &str, size: &Dim, scale: f64) -> Result<Dim> {
    let (p, q) = fraction(op, scale)?;
    Ok((size.clone() * p.into()).floor_div(&q.into()))
}

/// Refuses lists of the wrong length.
pub(super) fn check<T>(op: &str, axes: &[T], given: usize) -> Result<()> {
    if axes.len() == given {
        return Ok(());
    }
    Err(Error::op(
        op,
        format!("{given} scales or sizes for {} axes", axes.len()),
    ))
}

/// The simplest fraction that rounds to the f32 `scale`, by its continued fraction.
fn fraction(op: &str, scale: f64) -> Result<(i64, i64)> {
    if !(scale.is_finite() && scale > 0.0) {
        return Err(Error::op(op, format!("scale {scale}")));
    }
    let ((mut p, mut q), (mut p0, mut q0)) = ((1i64, 0i64), (0i64, 1i64));
    let mut rest = scale;
    // Every step adds at least one bit to a fraction of two 24-bit numbers.
    for _ in 0..64 {
        let whole = rest.floor().min(1e9) as i64;
        let next = |a: i64, b: i64| whole.saturating_mul(a).saturating_add(b);
        ((p, q), (p0, q0)) = ((next(p, p0), next(q, q0)), (p, q));
        if (p as f64 / q as f64) as f32 == scale as f32 || rest.fract() == 0.0 {
            break;
        }
        rest = 1.0 / rest.fract();
    }
    Ok((p, q))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_stand_for_simple_fractions() {
        let of = |scale: f32| fraction("Test", scale.into()).unwrap();
        assert_eq!(of(2.0), (2, 1));
        assert_eq!(of(0.5), (1, 2));
        assert_eq!(of(0.7), (7, 10));
        assert_eq!(of(1.0 / 3.0), (1, 3));
        assert_eq!(of(2.5714285), (18, 7));
        assert!(fraction("Test", 0.0).is_err());
        assert!(fraction("Test", f64::NAN).is_err());
        let seven = scaled("Test", &10i64.into(), 0.7f32.into()).unwrap();
        assert_eq!(seven.known(), Some(7));
    }

    #[test]
    fn whole_scales_stay_symbolic() {
        let size = scaled("Test", &Dim::symbol("h"), 2.0).unwrap();
        assert_eq!(size.to_string(), "2*h");
        let half = scaled("Test", &Dim::symbol("h"), 0.5).unwrap();
        assert_eq!(half.to_string(), "((h)/(2))");
    }
}
