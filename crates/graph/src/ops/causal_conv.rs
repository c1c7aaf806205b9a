//! CausalConvWithState: a depthwise convolution along time that carries its last inputs.

use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use tilewright_tensor::{DType, HostTensor};

/// ONNX CausalConvWithState-27. Inputs: x \[batch, channels, length\], weight \[channels, 1, k\], bias \[channels\], past
/// \[batch, channels, k - 1\]; outputs: y like x, and the last k - 1 elements of past and x together.
#[derive(Clone, Debug)]
pub struct CausalConvWithState {
    /// y becomes y / (1 + e^-y); ONNX calls it `silu` and `swish`.
    pub silu: bool,
}

impl Operator for CausalConvWithState {
    const NAMES: &'static [&'static str] = &["CausalConvWithState"];

    fn attrs(&self) -> Attrs {
        let activation = if self.silu { "silu" } else { "none" };
        Attrs::new("CausalConvWithState").with("activation", activation.to_owned())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let activation: String = attrs.or("activation", "none".to_owned())?;
        let silu = match activation.as_str() {
            "none" => false,
            "silu" | "swish" => true,
            other => {
                let what = format!("activation `{other}` is unknown");
                return Err(Error::op("CausalConvWithState", what));
            }
        };
        Ok(CausalConvWithState { silu })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let (x, w) = (inputs.req(0)?, inputs.req(1)?);
        if x.rank() != 3 || w.rank() != 3 {
            return Err(inputs.error(format!("the input is {x}, the weight {w}")));
        }
        if let (Some(a), Some(b)) = (x.shape[1].known(), w.shape[0].known())
            && a != b
        {
            return Err(inputs.error(format!("{a} channels of input, {b} of weights")));
        }
        let mut state = x.shape.clone();
        state[2] = w.shape[2].clone() - Dim::from(1i64);
        if state[2].known().is_some_and(|n| n < 0) {
            return Err(inputs.error("the kernel has no elements"));
        }
        Ok(vec![
            Fact::new(x.dtype, x.shape.clone()),
            Fact::new(x.dtype, state),
        ])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        crate::op::per_weight(inputs, outputs, 1)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let (x, w) = (inputs.req(0)?, inputs.req(1)?);
        let (&[batch, channels, length], &[same, 1, k]) = (&x.shape()[..], &w.shape()[..]) else {
            let what = format!(
                "the input has shape {:?}, the weight {:?}",
                x.shape(),
                w.shape()
            );
            return Err(inputs.error(what));
        };
        if same != channels || k == 0 {
            return Err(inputs.error(format!("{channels} channels, weights {:?}", w.shape())));
        }
        let bias = super::recurrent::values(inputs, 2, channels)?;
        let past = super::recurrent::values(inputs, 3, batch * channels * (k - 1))?;
        let (dtype, x, w) = (x.dtype(), x.to_f64(), w.to_f64());
        let (mut y, mut state) = (vec![], vec![]);
        for line in 0..batch * channels {
            let channel = line % channels;
            let mut row = past[line * (k - 1)..][..k - 1].to_vec();
            row.extend(&x[line * length..][..length]);
            for t in 0..length {
                let taps = &w[channel * k..][..k];
                let sum = bias[channel] + super::recurrent::dot(&row[t..][..k], taps);
                y.push(if self.silu {
                    sum / (1.0 + (-sum).exp())
                } else {
                    sum
                });
            }
            state.extend(&row[length..]);
        }
        Ok(vec![
            HostTensor::from_f64(dtype, [batch, channels, length], y)?,
            HostTensor::from_f64(dtype, [batch, channels, k - 1], state)?,
        ])
    }

    fn cases() -> Vec<Case> {
        let x = |shape: &[usize], seed| Some(samples::uniform(shape, seed));
        let case = |name: &str, silu: bool, inputs: Vec<Option<HostTensor>>| {
            Case::with_optional(name, CausalConvWithState { silu }, inputs)
        };
        let (data, weight) = (|| x(&[2, 5, 9], 1), || x(&[5, 1, 4], 2));
        let full = || vec![data(), weight(), x(&[5], 3), x(&[2, 5, 3], 4)];
        let half = full().into_iter().map(|t| t?.cast(DType::F16).ok());
        vec![
            case("plain", false, vec![data(), weight()]),
            case("every input", true, full()).constant(&[1, 2]),
            case(
                "short input",
                false,
                vec![x(&[2, 5, 2], 1), weight(), None, x(&[2, 5, 3], 4)],
            ),
            case("one tap", true, vec![data(), x(&[5, 1, 1], 2)]),
            case("f16", true, half.collect()),
        ]
    }
}
