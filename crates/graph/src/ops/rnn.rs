//! RNN: the plain recurrent layer.

use super::recurrent::{self, Direction, Recurrent, walk};
use super::recurrent_device;
use super::squash::{Activation, Squash};
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::Cell;
use tilewright_tensor::HostTensor;

/// ONNX RNN-22: h' = f(X W^T + h R^T + biases). Inputs X, W, R, B, sequence_lens, initial_h; outputs Y, Y_h. Steps past an
/// item's length give zeros and leave its state.
#[derive(Clone, Debug)]
pub struct Rnn {
    /// Direction, function, and the rest.
    pub common: Recurrent,
}

/// Function f.
pub(super) const DEFAULT: [Squash; 1] = [Squash::Tanh];

impl Operator for Rnn {
    const NAMES: &'static [&'static str] = &["RNN"];

    fn attrs(&self) -> Attrs {
        self.common.write(Attrs::new("RNN"))
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Rnn {
            common: Recurrent::from_attrs(attrs, &DEFAULT)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        self.common.infer(inputs, 1, 1)
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        recurrent::work(inputs, outputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        walk(&self.common, inputs, 1, 1, |_, weights, x, state| {
            let [h] = state else { return };
            let next = (0..weights.hidden)
                .map(|unit| weights.activate(0, x[unit] + weights.recur(0, unit, h)));
            *h = next.collect();
        })
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        recurrent_device::place(&self.common, cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let cell = Cell::Rnn;
        recurrent_device::lower(&self.common, cell, cx)
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let plain = |squash| Recurrent::new(&[squash]);
        let both = plain(Squash::Tanh).direction(Direction::Both);
        let batch_first = Recurrent {
            batch_first: true,
            ..both.clone()
        };
        let mut list = vec![
            (
                "reverse".to_owned(),
                plain(Squash::Tanh).direction(Direction::Reverse),
            ),
            ("both ways".to_owned(), both.clone()),
            ("batch first".to_owned(), batch_first),
        ];
        for squash in super::squash::ALL {
            let mut common = plain(squash);
            let Activation { alpha, beta, .. } = common.activations[0];
            // Not the defaults, so that a mistaken order of the constants shows.
            common.activations[0].alpha = alpha * 0.9;
            common.activations[0].beta = beta + if beta == 0.0 { 0.0 } else { 0.1 };
            list.push((format!("{squash:?}"), common));
        }
        let mut cases = vec![];
        for (name, common) in list {
            let inputs = recurrent::samples(&common, 1, (4, 3, 5, 6));
            let case = Case::with_optional(&name, Rnn { common }, inputs);
            cases.push(case.constant(&[1, 2, 3]));
        }
        let mut inputs = recurrent::samples(&both, 1, (5, 3, 4, 6));
        inputs[3] = None;
        inputs.push(Some(samples::of(&[3], &[5i32, 2, 4])));
        inputs.push(Some(samples::uniform(&[2, 3, 6], 7)));
        let case = Case::with_optional("no bias, every other input", Rnn { common: both }, inputs);
        cases.extend([case.clone().constant(&[1, 2]), case]);
        cases
    }
}
