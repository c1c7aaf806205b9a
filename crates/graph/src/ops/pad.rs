//! Pad: elements added around a tensor, or cut off.

use super::moving::{axes_of, moved, place, same_dtype, word};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operand, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_kernels::{Padding, pad};
use tilewright_tensor::{DType, HostTensor, Shape};

/// What the added elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode {
    /// Input 2, or 0.
    Constant,
    /// The tensor mirrored at its first and last element, which are not repeated.
    Reflect,
    /// The nearest element.
    Edge,
    /// The tensor over and over.
    Wrap,
}

impl PadMode {
    const NAMES: [(PadMode, &'static str); 4] = [
        (PadMode::Constant, "constant"),
        (PadMode::Reflect, "reflect"),
        (PadMode::Edge, "edge"),
        (PadMode::Wrap, "wrap"),
    ];

    fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(mode, _)| *mode == self);
        found.map_or("", |(_, name)| name)
    }

    fn from_name(name: &str) -> Result<PadMode> {
        let found = Self::NAMES.iter().find(|(_, n)| *n == name);
        let error = || Error::op("Pad", format!("mode `{name}`"));
        found.map(|(mode, _)| *mode).ok_or_else(error)
    }

    /// The element of an axis of `n` elements at position `at`, which may lie outside; none for the constant.
    fn source(self, at: i64, n: i64) -> Option<i64> {
        if (0..n).contains(&at) {
            return Some(at);
        }
        match self {
            PadMode::Constant => None,
            _ if n == 0 => None,
            PadMode::Edge => Some(at.clamp(0, n - 1)),
            PadMode::Wrap => Some(at.rem_euclid(n)),
            PadMode::Reflect if n == 1 => Some(0),
            PadMode::Reflect => {
                let at = at.rem_euclid(2 * (n - 1));
                Some(at.min(2 * (n - 1) - at))
            }
        }
    }
}

/// ONNX Pad-25: inputs are the data, the pads (all beginnings, then all ends; negative ones cut off), the constant
/// (optional) and the axes that the pads are for (optional).
#[derive(Clone, Debug)]
pub struct Pad {
    /// What the added elements are.
    pub mode: PadMode,
}

/// Bound on what is added or cut off at an end: sums with places in a tensor then fit 64 bits.
const MOST: i64 = i32::MAX as i64;

/// Refuses pads that no tensor has room for.
fn check(pads: impl IntoIterator<Item = i64>) -> Result<()> {
    match pads.into_iter().find(|n| !(-MOST..=MOST).contains(n)) {
        Some(n) => Err(Error::op("Pad", format!("a pad of {n} passes {MOST}"))),
        None => Ok(()),
    }
}

impl Pad {
    /// Beginning and end for each axis of a tensor of `rank` dimensions.
    fn by_axis<T: Clone>(
        rank: usize,
        pads: &[T],
        axes: Option<Vec<i64>>,
        zero: T,
    ) -> Result<Vec<(T, T)>> {
        let axes = match axes {
            Some(axes) => axes_of("Pad", &axes, rank)?,
            None => (0..rank).collect(),
        };
        if pads.len() != 2 * axes.len() {
            let what = format!("{} pads for {} axes", pads.len(), axes.len());
            return Err(Error::op("Pad", what));
        }
        let mut out = vec![(zero.clone(), zero); rank];
        for (i, &axis) in axes.iter().enumerate() {
            out[axis] = (pads[i].clone(), pads[i + axes.len()].clone());
        }
        Ok(out)
    }
}

impl Operator for Pad {
    const NAMES: &'static [&'static str] = &["Pad"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Pad").with("mode", self.mode.name().to_string())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let mode: String = attrs.or("mode", "constant".into())?;
        Ok(Pad {
            mode: PadMode::from_name(&mode)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let pads = inputs.dims(1)?;
        check(pads.iter().filter_map(Dim::known))?;
        let pads = Pad::by_axis(data.rank(), &pads, inputs.opt_ints(3)?, 0i64.into())?;
        let zero = Dim::from(0i64);
        let padded = |(n, (begin, end)): (&Dim, (Dim, Dim))| {
            // Two pads of 0 leave any size as it is; another sum may not be negative.
            if begin == zero && end == zero {
                n.clone()
            } else {
                (n.clone() + begin + end).larger(&zero)
            }
        };
        let shape: Vec<Dim> = data.shape.iter().zip(pads).map(padded).collect();
        match inputs.opt(2) {
            Some(value) if self.mode == PadMode::Constant => {
                same_dtype("Pad", data, value)?;
                Ok(vec![Fact::new(data.dtype, shape)])
            }
            _ if self.mode == PadMode::Constant => Ok(vec![Fact::new(data.dtype, shape)]),
            _ => Ok(vec![moved(data, shape)]),
        }
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let pads = inputs.ints(1)?;
        check(pads.iter().copied())?;
        let pads = Pad::by_axis(data.rank(), &pads, inputs.opt_ints(3)?, 0)?;
        let shape: Shape = (data.shape().iter().zip(&pads))
            .map(|(&n, (begin, end))| (n as i64).saturating_add(begin + end).max(0) as usize)
            .collect();
        let mut out = match inputs.opt(2) {
            Some(value) if self.mode == PadMode::Constant => {
                value.select(&shape, std::iter::repeat_n(0, shape.elements()?))?
            }
            _ => HostTensor::zeros(data.dtype(), &shape)?,
        };
        let (mut from, mut to) = (vec![], vec![]);
        let mut indices = shape.indices();
        while let Some(index) = indices.advance() {
            let source: Option<Vec<usize>> = (index.iter().zip(&pads).zip(&data.shape()[..]))
                .map(|((&i, (begin, _)), &n)| {
                    let at = self.mode.source(i as i64 - begin, n as i64);
                    at.map(|at| at as usize)
                })
                .collect();
            if let Some(source) = source {
                from.push(data.shape().offset(&source));
                to.push(shape.offset(index));
            } else if self.mode != PadMode::Constant {
                return Err(inputs.error("an empty axis has no elements to pad with"));
            }
        }
        out.place(&data.select([from.len()], from)?, to)?;
        Ok(vec![out])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        place(cx, &[0, 2])
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let pads = cx.opt_ints(1)?.unwrap_or_default();
        check(pads.iter().copied())?;
        let pads = Pad::by_axis(x.shape.len(), &pads, cx.opt_ints(3)?, 0)?;
        let begin: Vec<i64> = pads.into_iter().map(|(begin, _)| begin).collect();
        let value = cx.opt_input(2);
        let padding = match (self.mode, &value, cx.constant(2)?) {
            (PadMode::Constant, _, Some(value)) => Padding::Known(word(&value)?),
            (PadMode::Constant, Some(value), None) => Padding::View(value),
            (PadMode::Constant, None, None) => Padding::Known(0),
            (PadMode::Reflect, ..) => Padding::Reflect,
            (PadMode::Edge, ..) => Padding::Edge,
            (PadMode::Wrap, ..) => Padding::Wrap,
        };
        let dispatches = pad(cx.caps(), &x, &begin, padding, &y)?;
        cx.emit(dispatches);
        Ok(())
    }

    fn moves(&self, input: usize) -> bool {
        // Symbols cannot be told from a constant, so only what copies elements is followed.
        input == 0 && self.mode != PadMode::Constant
    }

    fn half(&self, _: Operand) -> bool {
        true
    }

    fn cases() -> Vec<Case> {
        let case = |name: &str, mode, shape: &[usize], pads: &[i64]| {
            let inputs = vec![samples::uniform(shape, 1), samples::ints(pads)];
            Case::new(name, Pad { mode }, inputs).constant(&[1])
        };
        let full = |mode, x: HostTensor, pads: &[i64], value: Option<HostTensor>, axes: &[i64]| {
            let inputs = [Some(x), Some(samples::ints(pads)), value];
            let inputs = [inputs.to_vec(), vec![Some(samples::ints(axes))]].concat();
            Case::with_optional(&format!("axes {axes:?}"), Pad { mode }, inputs).constant(&[1, 3])
        };
        let x = || samples::uniform(&[3, 4, 5], 1);
        let one = |v: f32| Some(samples::of(&[], &[v]));
        let ints = samples::integers(DType::I64, &[2, 3], 1, -9, 9);
        use PadMode::*;
        vec![
            case("zeros", Constant, &[2, 3, 4, 5], &[0, 0, 1, 2, 0, 0, 3, 4]),
            case("by fours", Constant, &[3, 8], &[1, 4, 0, 8]),
            case("channels", Edge, &[2, 3, 8], &[0, 1, 0, 0, 2, 0]),
            case("cut and pad", Constant, &[4, 6], &[-1, 2, 0, -3]),
            case("edge", Edge, &[3, 5], &[2, 1, 0, 3]),
            case("edge cut", Edge, &[3, 5], &[2, -1, 0, 3]),
            case("reflect", Reflect, &[2, 4, 5], &[0, 3, 2, 0, 1, 4]),
            case("reflect far", Reflect, &[3], &[7, 9]),
            case("wrap", Wrap, &[2, 4, 5], &[1, 3, 2, 1, 1, 4]),
            case("of nothing", Constant, &[0, 2], &[1, 0, 2, 1]),
            case("to nothing", Constant, &[2, 2], &[-1, 0, -1, 0]),
            full(Constant, x(), &[1, 2, 3, 4], one(7.5), &[-1, 0]),
            full(
                Constant,
                ints,
                &[1, 2],
                Some(samples::of(&[], &[5i64])),
                &[1],
            ),
            full(Reflect, x(), &[1, 2], None, &[1]),
            Case::new(
                "run-time value",
                Pad { mode: Constant },
                vec![x(), samples::ints(&[1; 6]), samples::of(&[1], &[2f32])],
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_pads_are_refused() {
        for mode in [
            PadMode::Constant,
            PadMode::Reflect,
            PadMode::Edge,
            PadMode::Wrap,
        ] {
            for pads in [[i64::MIN, i64::MAX], [1, MOST + 1], [-MOST - 1, 1]] {
                let (x, pads) = (samples::uniform(&[3], 1), samples::ints(&pads));
                let op: crate::Op = Pad { mode }.into();
                let facts = [Fact::of(x.clone()), Fact::of(pads.clone())];
                let inferred = op.infer(&facts.each_ref().map(Some));
                assert!(matches!(inferred, Err(Error::Op { .. })), "{inferred:?}");
                let computed = op.reference(&[Some(&x), Some(&pads)]);
                assert!(matches!(computed, Err(Error::Op { .. })), "{computed:?}");
            }
        }
    }
}
