//! Reshape: the same elements under another shape. Flatten and Identity are kin.

use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values, axis_index};
use crate::lower::{Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::HostTensor;

/// ONNX Reshape-25: input 1 holds the new shape; one size may be -1 (inferred), 0 copies the input's size unless
/// `allow_zero`.
#[derive(Clone, Debug)]
pub struct Reshape {
    /// A 0 in the shape means an empty axis.
    pub allow_zero: bool,
}

impl Reshape {
    fn shape(&self, from: &[Dim], to: Vec<Dim>) -> Result<Vec<Dim>> {
        let product = |dims: &[Dim]| dims.iter().cloned().fold(Dim::from(1i64), |a, b| a * b);
        let mut out = Vec::with_capacity(to.len());
        let mut inferred = None;
        for (i, d) in to.into_iter().enumerate() {
            out.push(match d.known() {
                Some(0) if !self.allow_zero => from.get(i).cloned().ok_or_else(|| {
                    Error::op(
                        "Reshape",
                        format!("size {i} is 0 but the input has no axis {i}"),
                    )
                })?,
                Some(-1) if inferred.is_none() => {
                    inferred = Some(i);
                    1i64.into()
                }
                Some(-1) => return Err(Error::op("Reshape", "only one size may be -1")),
                Some(n) if n < 0 => return Err(Error::op("Reshape", format!("size {n}"))),
                _ => d,
            });
        }
        let (have, want) = (product(from), product(&out));
        if let Some(i) = inferred {
            if want.known() == Some(0) || have.modulo(&want).known().is_some_and(|r| r != 0) {
                return Err(Error::op(
                    "Reshape",
                    format!("{have} elements cannot fill a shape of {want} per unit"),
                ));
            }
            out[i] = have.floor_div(&want);
        } else if let (Some(a), Some(b)) = (have.known(), want.known())
            && a != b
        {
            return Err(Error::op(
                "Reshape",
                format!("{a} elements cannot take a shape of {b}"),
            ));
        }
        Ok(out)
    }
}

impl Operator for Reshape {
    const NAMES: &'static [&'static str] = &["Reshape"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Reshape").with("allowzero", self.allow_zero)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Reshape {
            allow_zero: attrs.or("allowzero", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        Ok(vec![Fact::new(
            data.dtype,
            self.shape(&data.shape, inputs.dims(1)?)?,
        )])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let from: Vec<Dim> = data.shape().iter().map(|&n| n.into()).collect();
        let to = inputs.ints(1)?.into_iter().map(Dim::from).collect();
        reshaped(data, &self.shape(&from, to)?)
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        alias(cx)
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }

    fn cases() -> Vec<Case> {
        let x = || samples::uniform(&[2, 3, 4], 1);
        let op = || Reshape { allow_zero: false };
        vec![
            Case::new("plain", op(), vec![x(), samples::ints(&[4, 6])]).constant(&[1]),
            Case::new("inferred", op(), vec![x(), samples::ints(&[0, -1])]).constant(&[1]),
            Case::new("run-time shape", op(), vec![x(), samples::ints(&[3, 8])]),
        ]
    }
}

fn reshaped(data: &HostTensor, shape: &[Dim]) -> Result<Vec<HostTensor>> {
    let shape = Fact::new(data.dtype(), shape).bind(&Default::default())?;
    Ok(vec![data.reshape(shape)?])
}

/// On the device a reshape costs nothing.
pub(super) fn alias(cx: &Placing<'_>) -> Place {
    match cx.by_storage_of(&[0]) {
        Place::Device => Place::Alias,
        host => host,
    }
}

/// ONNX Flatten-25: axes before `axis` become one, the others another.
#[derive(Clone, Debug)]
pub struct Flatten {
    /// First axis of the second group; negative counts from the end.
    pub axis: i64,
}

impl Flatten {
    fn shape(&self, from: &[Dim]) -> Result<Vec<Dim>> {
        let r = from.len();
        // The axis may also be one past the end.
        let at = if self.axis == r as i64 {
            r
        } else {
            axis_index("Flatten", self.axis, r)?
        };
        let product = |dims: &[Dim]| dims.iter().cloned().fold(Dim::from(1i64), |a, b| a * b);
        Ok(vec![product(&from[..at]), product(&from[at..])])
    }
}

impl Operator for Flatten {
    const NAMES: &'static [&'static str] = &["Flatten"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Flatten").with("axis", self.axis)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Flatten {
            axis: attrs.or("axis", 1)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        Ok(vec![Fact::new(data.dtype, self.shape(&data.shape)?)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let from: Vec<Dim> = data.shape().iter().map(|&n| n.into()).collect();
        reshaped(data, &self.shape(&from)?)
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        alias(cx)
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }

    fn cases() -> Vec<Case> {
        let x = || samples::uniform(&[2, 3, 4], 1);
        [-2, 0, 1, 3]
            .map(|axis| Case::new(&format!("axis {axis}"), Flatten { axis }, vec![x()]))
            .into()
    }
}

/// ONNX Identity-25: the input itself.
#[derive(Clone, Debug)]
pub struct Identity;

impl Operator for Identity {
    const NAMES: &'static [&'static str] = &["Identity"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Identity")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Identity)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        Ok(vec![inputs.req(0)?.clone()])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        Ok(vec![inputs.req(0)?.clone()])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        alias(cx)
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }
}
