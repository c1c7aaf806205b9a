//! Squeeze and Unsqueeze: axes of size 1 removed and added.

use super::moving::{axes_of, dims, moved, sizes};
use super::reshape::alias;
use crate::dim::Dim;
use crate::fact::{Facts, Tensors, Values};
use crate::lower::{Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::HostTensor;

/// ONNX Squeeze-25: removes the axes of size 1 that input 1 names, or all of them without it.
#[derive(Clone, Debug)]
pub struct Squeeze;

impl Squeeze {
    fn shape(from: &[Dim], axes: Option<Vec<i64>>) -> Result<Vec<Dim>> {
        let drop: Vec<usize> = match axes {
            Some(axes) => axes_of("Squeeze", &axes, from.len())?,
            // A symbol may turn out to be 1, and then its axis goes too.
            None if from.iter().any(|d| d.known().is_none()) => {
                return Err(Error::DataDependent { op: "Squeeze" });
            }
            None => (0..from.len())
                .filter(|&i| from[i].known() == Some(1))
                .collect(),
        };
        if let Some(&bad) = drop
            .iter()
            .find(|&&i| from[i].known().is_some_and(|n| n != 1))
        {
            let what = format!("axis {bad} has size {}, not 1", from[bad]);
            return Err(Error::op("Squeeze", what));
        }
        let kept = (0..from.len()).filter(|i| !drop.contains(i));
        Ok(kept.map(|i| from[i].clone()).collect())
    }
}

impl Operator for Squeeze {
    const NAMES: &'static [&'static str] = &["Squeeze"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Squeeze")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Squeeze)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let shape = Squeeze::shape(&data.shape, inputs.opt_ints(1)?)?;
        Ok(vec![moved(data, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let shape = Squeeze::shape(&dims(data.shape()), inputs.opt_ints(1)?)?;
        Ok(vec![data.reshape(sizes(&shape)?)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        alias(cx)
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }

    fn cases() -> Vec<Case> {
        let x = || samples::uniform(&[1, 3, 1, 5], 1);
        vec![
            Case::new("two axes", Squeeze, vec![x(), samples::ints(&[-2, 0])]).constant(&[1]),
            Case::new("no axis", Squeeze, vec![x(), samples::ints(&[])]).constant(&[1]),
            Case::new("all", Squeeze, vec![x()]),
            Case::new(
                "integers",
                Squeeze,
                vec![samples::ints(&[7]), samples::ints(&[0])],
            )
            .constant(&[1]),
        ]
    }
}

/// ONNX Unsqueeze-25: axes of size 1 put where input 1 says, counted in the output.
#[derive(Clone, Debug)]
pub struct Unsqueeze;

impl Unsqueeze {
    fn shape(from: &[Dim], axes: &[i64]) -> Result<Vec<Dim>> {
        let rank = from.len() + axes.len();
        let new = axes_of("Unsqueeze", axes, rank)?;
        let mut rest = from.iter();
        let size = |axis: usize| {
            if new.contains(&axis) {
                Some(1i64.into())
            } else {
                rest.next().cloned()
            }
        };
        Ok((0..rank).filter_map(size).collect())
    }
}

impl Operator for Unsqueeze {
    const NAMES: &'static [&'static str] = &["Unsqueeze"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Unsqueeze")
    }

    fn from_attrs(_: &str, _: &Attrs) -> Result<Self> {
        Ok(Unsqueeze)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let data = inputs.req(0)?;
        let shape = Unsqueeze::shape(&data.shape, &inputs.ints(1)?)?;
        Ok(vec![moved(data, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let data = inputs.req(0)?;
        let shape = Unsqueeze::shape(&dims(data.shape()), &inputs.ints(1)?)?;
        Ok(vec![data.reshape(sizes(&shape)?)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        alias(cx)
    }

    fn moves(&self, input: usize) -> bool {
        input == 0
    }

    fn cases() -> Vec<Case> {
        let x = || samples::uniform(&[3, 5], 1);
        let axes = |axes: &[i64]| {
            let inputs = vec![x(), samples::ints(axes)];
            Case::new(&format!("axes {axes:?}"), Unsqueeze, inputs).constant(&[1])
        };
        vec![
            axes(&[0]),
            axes(&[4, 1, -3]),
            axes(&[]),
            Case::new("run-time axes", Unsqueeze, vec![x(), samples::ints(&[1])]),
        ]
    }
}
