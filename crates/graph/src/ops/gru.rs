//! GRU: gated recurrent unit.

use super::recurrent::{self, Direction, Recurrent, Weights, dot, walk};
use super::recurrent_device;
use super::squash::Squash;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::Cell;
use tilewright_tensor::{DType, HostTensor};

/// ONNX GRU-22. Inputs X, W, R, B, sequence_lens, initial_h; outputs Y, Y_h. Gates lie in the order update, reset,
/// hidden. Steps past an item's length give zeros and leave its state.
#[derive(Clone, Debug)]
pub struct Gru {
    /// Direction, functions (f of the gates, g of the hidden gate), and the rest.
    pub common: Recurrent,
    /// The reset gate multiplies the product with the state, not the state.
    pub linear_before_reset: bool,
}

/// Functions f, g.
pub(super) const DEFAULT: [Squash; 2] = [Squash::Sigmoid, Squash::Tanh];

impl Gru {
    fn step(&self, weights: &Weights<'_>, x: &[f64], state: &mut [Vec<f64>]) {
        let n = weights.hidden;
        let [h] = state else { return };
        let gate = |gate: usize, unit: usize| {
            weights.activate(0, x[gate * n + unit] + weights.recur(gate, unit, h))
        };
        let reset: Vec<f64> = (0..n).map(|unit| gate(1, unit)).collect();
        let held: Vec<f64> = reset.iter().zip(&*h).map(|(r, h)| r * h).collect();
        let mut next = vec![];
        for unit in 0..n {
            let row = 2 * n + unit;
            let recurrence = if self.linear_before_reset {
                reset[unit] * weights.recur(2, unit, h)
            } else {
                dot(&weights.r[row * n..][..n], &held) + weights.bias[row]
            };
            let hidden = weights.activate(1, x[row] + recurrence);
            let update = gate(0, unit);
            next.push((1.0 - update) * hidden + update * h[unit]);
        }
        *h = next;
    }
}

impl Operator for Gru {
    const NAMES: &'static [&'static str] = &["GRU"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new("GRU").with("linear_before_reset", self.linear_before_reset);
        self.common.write(attrs)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Gru {
            common: Recurrent::from_attrs(attrs, &DEFAULT)?,
            linear_before_reset: attrs.or("linear_before_reset", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        self.common.infer(inputs, 3, 1)
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        recurrent::work(inputs, outputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        walk(&self.common, inputs, 3, 1, |_, weights, x, state| {
            self.step(weights, x, state);
        })
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        recurrent_device::place(&self.common, cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let cell = Cell::Gru {
            linear: self.linear_before_reset,
        };
        recurrent_device::lower(&self.common, cell, cx)
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let mut cases = vec![];
        for linear_before_reset in [false, true] {
            let op = |common: &Recurrent| Gru {
                common: common.clone(),
                linear_before_reset,
            };
            let title = |name: &str| format!("{name}, linear before reset {linear_before_reset}");
            let plain = || Recurrent::new(&DEFAULT);
            let both = plain().direction(Direction::Both);
            let clipped = Recurrent {
                clip: Some(0.2),
                batch_first: true,
                ..both.clone()
            };
            let list = [
                ("forward", plain(), (4, 3, 5, 6)),
                ("multiples of four", plain(), (3, 4, 8, 16)),
                (
                    "reverse",
                    plain().direction(Direction::Reverse),
                    (4, 2, 5, 6),
                ),
                ("both ways", both.clone(), (5, 3, 6, 7)),
                ("clipped, batch first", clipped, (4, 2, 3, 5)),
            ];
            for (name, common, size) in list {
                let inputs = recurrent::samples(&common, 3, size);
                let case = Case::with_optional(&title(name), op(&common), inputs);
                cases.push(case.constant(&[1, 2, 3]));
            }
            let mut inputs = recurrent::samples(&both, 3, (5, 3, 4, 6));
            inputs.push(Some(samples::of(&[3], &[5i32, 1, 0])));
            inputs.push(Some(samples::uniform(&[2, 3, 6], 7)));
            let full = Case::with_optional(&title("every input"), op(&both), inputs.clone());
            cases.extend([full.clone().constant(&[1, 2, 3]), full]);
            for dtype in [DType::F16, DType::F64] {
                let mut inputs = recurrent::samples(&plain(), 3, (3, 2, 4, 5));
                for t in inputs.iter_mut().flatten() {
                    *t = t.cast(dtype).expect("floats convert");
                }
                let name = title(&dtype.to_string());
                cases.push(Case::with_optional(&name, op(&plain()), inputs).constant(&[1, 2, 3]));
            }
        }
        cases
    }
}
