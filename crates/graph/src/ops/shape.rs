//! Shape and Size: sizes as integers. They are known before the data is.

use crate::fact::{Facts, Tensors};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use std::ops::Range;
use tilewright_tensor::{DType, HostTensor};

/// ONNX Shape-25: the sizes of axes `start..end` as int64.
#[derive(Clone, Debug)]
pub struct Shape {
    /// First axis; negative counts from the end, and what is outside is moved to the nearest end.
    pub start: i64,
    /// One past the last axis, likewise; none for all.
    pub end: Option<i64>,
}

impl Shape {
    fn axes(&self, rank: usize) -> Range<usize> {
        let r = rank as i64;
        let clamp = |axis: i64| {
            let axis = if axis < 0 {
                axis.saturating_add(r)
            } else {
                axis
            };
            axis.clamp(0, r) as usize
        };
        let (start, end) = (clamp(self.start), clamp(self.end.unwrap_or(r)));
        start..end.max(start)
    }
}

impl Operator for Shape {
    const NAMES: &'static [&'static str] = &["Shape"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Shape")
            .with("start", self.start)
            .with_opt("end", self.end)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Shape {
            start: attrs.or("start", 0)?,
            end: attrs.opt("end")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let of = data.shape[self.axes(data.rank())].to_vec();
        Ok(vec![Fact::of_dims(DType::I64, &[of.len()], of)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let of = &data.shape().to_i64()[self.axes(data.rank())];
        Ok(vec![HostTensor::from_slice([of.len()], of)?])
    }

    fn cases() -> Vec<Case> {
        let x = || samples::uniform(&[2, 3, 4], 1);
        let bounds = [
            (0, None),
            (-2, None),
            (1, Some(-1)),
            (-9, Some(9)),
            (2, Some(1)),
        ];
        let case = |(start, end)| {
            Case::new(
                &format!("{start}..{end:?}"),
                Shape { start, end },
                vec![x()],
            )
        };
        bounds.map(case).into()
    }
}

/// ONNX Size-25: the number of elements as an int64 scalar.
#[derive(Clone, Debug)]
pub struct Size;

impl Operator for Size {
    const NAMES: &'static [&'static str] = &["Size"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Size")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Size)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let count = inputs.req(0)?.elements();
        Ok(vec![Fact::of_dims(DType::I64, &[], vec![count])])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        Ok(vec![HostTensor::scalar(inputs.req(0)?.len() as i64)])
    }

    fn cases() -> Vec<Case> {
        vec![
            Case::new("3-D", Size, vec![samples::uniform(&[2, 3, 4], 1)]),
            Case::new("empty", Size, vec![samples::uniform(&[2, 0], 1)]),
            Case::new("scalar", Size, vec![samples::uniform(&[], 1)]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dim;
    use crate::fact::Inputs;

    #[test]
    fn sizes_stay_symbolic() {
        let n = Dim::symbol("n");
        let x = Fact::new(DType::F32, [n.clone(), 3i64.into()]);
        let list = [Some(&x)];
        let inputs = Inputs::new("Size", &list);
        assert_eq!(
            Size.infer(inputs).unwrap()[0].dims(),
            Some(vec![n.clone() * 3i64.into()])
        );
        let shape = Shape {
            start: 0,
            end: Some(1),
        };
        assert_eq!(shape.infer(inputs).unwrap()[0].dims(), Some(vec![n]));
    }
}
