//! The functions of gates.

use crate::{Attrs, Error, Result};

/// A function of a gate, before it gets its constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squash {
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// tanh x
    Tanh,
    /// max(0, x)
    Relu,
    /// alpha x + beta
    Affine,
    /// x, or alpha x below 0
    LeakyRelu,
    /// x from alpha on, else 0
    ThresholdedRelu,
    /// alpha tanh(beta x)
    ScaledTanh,
    /// alpha x + beta within 0..1
    HardSigmoid,
    /// x, or alpha (e^x - 1) below 0
    Elu,
    /// x / (1 + |x|)
    Softsign,
    /// ln(1 + e^x)
    Softplus,
}

/// Name, whether alpha and beta are used, and their defaults. Where ONNX has no operator of the name, the defaults make it
/// the identity or the plain function.
pub(super) const SQUASHES: [(Squash, &str, Option<f32>, Option<f32>); 11] = [
    (Squash::Sigmoid, "Sigmoid", None, None),
    (Squash::Tanh, "Tanh", None, None),
    (Squash::Relu, "Relu", None, None),
    (Squash::Affine, "Affine", Some(1.0), Some(0.0)),
    (Squash::LeakyRelu, "LeakyRelu", Some(0.01), None),
    (Squash::ThresholdedRelu, "ThresholdedRelu", Some(1.0), None),
    (Squash::ScaledTanh, "ScaledTanh", Some(1.0), Some(1.0)),
    (Squash::HardSigmoid, "HardSigmoid", Some(0.2), Some(0.5)),
    (Squash::Elu, "Elu", Some(1.0), None),
    (Squash::Softsign, "Softsign", None, None),
    (Squash::Softplus, "Softplus", None, None),
];

/// A function of a gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    /// Which.
    pub squash: Squash,
    /// Its first constant; 0 where it has none.
    pub alpha: f32,
    /// Its second constant; 0 where it has none.
    pub beta: f32,
}

impl Activation {
    /// `squash` with its default constants.
    pub fn new(squash: Squash) -> Activation {
        let (_, _, alpha, beta) = SQUASHES[squash as usize];
        Activation {
            squash,
            alpha: alpha.unwrap_or(0.0),
            beta: beta.unwrap_or(0.0),
        }
    }

    pub(super) fn apply(&self, x: f64) -> f64 {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        match self.squash {
            Squash::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Squash::Tanh => x.tanh(),
            Squash::Relu => x.max(0.0),
            Squash::Affine => alpha * x + beta,
            Squash::LeakyRelu if x >= 0.0 => x,
            Squash::LeakyRelu => alpha * x,
            Squash::ThresholdedRelu if x >= alpha => x,
            Squash::ThresholdedRelu => 0.0,
            Squash::ScaledTanh => alpha * (beta * x).tanh(),
            Squash::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
            Squash::Elu if x >= 0.0 => x,
            Squash::Elu => alpha * x.exp_m1(),
            Squash::Softsign => x / (1.0 + x.abs()),
            Squash::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

/// Alphas and betas are used up in the order of the functions that have them.
pub(super) fn activations(
    attrs: &Attrs,
    default: &[Squash],
    wanted: usize,
) -> Result<Vec<Activation>> {
    let mut squashes = default.to_vec();
    if let Some(names) = attrs.opt::<Vec<String>>("activations")? {
        squashes.clear();
        for name in &names {
            let known = SQUASHES.iter().find(|s| s.1.eq_ignore_ascii_case(name));
            let known = known
                .ok_or_else(|| Error::op(attrs.op(), format!("activation `{name}` is unknown")))?;
            squashes.push(known.0);
        }
    }
    if squashes.len() * 2 == wanted {
        squashes.extend_from_within(..);
    }
    if squashes.len() != wanted {
        let what = format!("{} activations, expected {wanted}", squashes.len());
        return Err(Error::op(attrs.op(), what));
    }
    let mut alphas = attrs
        .or::<Vec<f32>>("activation_alpha", vec![])?
        .into_iter();
    let mut betas = attrs.or::<Vec<f32>>("activation_beta", vec![])?.into_iter();
    let constant = |list: &mut std::vec::IntoIter<f32>, default: Option<f32>| {
        default.map_or(0.0, |default| list.next().unwrap_or(default))
    };
    Ok((squashes.into_iter())
        .map(|squash| Activation {
            squash,
            alpha: constant(&mut alphas, SQUASHES[squash as usize].2),
            beta: constant(&mut betas, SQUASHES[squash as usize].3),
        })
        .collect())
}

/// Every function, for cases.
pub(super) const ALL: [Squash; 11] = {
    let mut all = [Squash::Sigmoid; 11];
    let mut i = 0;
    while i < all.len() {
        all[i] = SQUASHES[i].0;
        i += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squashes_are_listed_in_their_order() {
        for (i, squash) in ALL.into_iter().enumerate() {
            assert_eq!(squash as usize, i);
        }
    }

    #[test]
    fn constants_are_used_up_in_order() {
        let attrs = Attrs::new("LSTM")
            .with(
                "activations",
                vec![
                    "Tanh".to_owned(),
                    "leakyrelu".to_owned(),
                    "Affine".to_owned(),
                ],
            )
            .with("activation_alpha", vec![0.5f32])
            .with("activation_beta", vec![0.25f32]);
        let default = [Squash::Sigmoid; 3];
        let of = activations(&attrs, &default, 3).unwrap();
        let constants: Vec<_> = of.iter().map(|a| (a.alpha, a.beta)).collect();
        assert_eq!(constants, [(0.0, 0.0), (0.5, 0.0), (1.0, 0.25)]);
    }
}
