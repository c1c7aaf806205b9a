//! LSTM: long short-term memory.

use super::recurrent::{self, Direction, Recurrent, Weights, values, walk};
use super::recurrent_device;
use super::squash::Squash;
use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Fact, Result, samples};
use tilewright_kernels::Cell;
use tilewright_tensor::{DType, HostTensor};

/// ONNX LSTM-22. Inputs X, W, R, B, sequence_lens, initial_h, initial_c, P; outputs Y, Y_h, Y_c. Gates lie in the order
/// input, output, forget, cell. Steps past an item's length give zeros and leave its state.
#[derive(Clone, Debug)]
pub struct Lstm {
    /// Direction, functions (f of the gates, g of the cell input, h of the cell), and the rest.
    pub common: Recurrent,
    /// The forget gate is one minus the input gate.
    pub input_forget: bool,
}

/// Functions f, g, h.
pub(super) const DEFAULT: [Squash; 3] = [Squash::Sigmoid, Squash::Tanh, Squash::Tanh];

impl Lstm {
    /// One step of one item; `p` holds the peepholes of the input, output and forget gates.
    fn step(&self, weights: &Weights<'_>, p: &[f64], x: &[f64], state: &mut [Vec<f64>]) {
        let n = weights.hidden;
        let [h, c] = state else { return };
        let before = h.clone();
        for unit in 0..n {
            let gate = |gate: usize| x[gate * n + unit] + weights.recur(gate, unit, &before);
            let input = weights.activate(0, gate(0) + p[unit] * c[unit]);
            let forget = if self.input_forget {
                1.0 - input
            } else {
                weights.activate(0, gate(2) + p[2 * n + unit] * c[unit])
            };
            c[unit] = forget * c[unit] + input * weights.activate(1, gate(3));
            let output = weights.activate(0, gate(1) + p[n + unit] * c[unit]);
            h[unit] = output * weights.activate(2, c[unit]);
        }
    }
}

impl Operator for Lstm {
    const NAMES: &'static [&'static str] = &["LSTM"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new("LSTM").with("input_forget", self.input_forget);
        self.common.write(attrs)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Lstm {
            common: Recurrent::from_attrs(attrs, &DEFAULT)?,
            input_forget: attrs.or("input_forget", false)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        self.common.infer(inputs, 4, 2)
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        recurrent::work(inputs, outputs)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let hidden = inputs.req(2)?.shape().last().copied().unwrap_or(0);
        let peepholes = values(inputs, 7, self.common.directions() * 3 * hidden)?;
        walk(
            &self.common,
            inputs,
            4,
            2,
            |direction, weights, x, state| {
                let p = &peepholes[direction * 3 * hidden..][..3 * hidden];
                self.step(weights, p, x, state);
            },
        )
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        recurrent_device::place(&self.common, cx)
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let cell = Cell::Lstm {
            coupled: self.input_forget,
        };
        recurrent_device::lower(&self.common, cell, cx)
    }

    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let op = |common: Recurrent| Lstm {
            common,
            input_forget: false,
        };
        let plain = || Recurrent::new(&DEFAULT);
        let coupled = Lstm {
            input_forget: true,
            ..op(plain())
        };
        let clipped = Recurrent {
            clip: Some(0.3),
            ..plain()
        };
        let list = [
            ("forward", op(plain()), (4, 3, 5, 6)),
            ("multiples of four", op(plain()), (3, 4, 8, 16)),
            ("one step", op(plain()), (1, 1, 2, 3)),
            (
                "reverse",
                op(plain().direction(Direction::Reverse)),
                (4, 2, 5, 6),
            ),
            (
                "both ways",
                op(plain().direction(Direction::Both)),
                (5, 3, 6, 7),
            ),
            ("clipped", op(clipped), (4, 2, 3, 4)),
            ("coupled gates", coupled, (4, 2, 3, 4)),
        ];
        let mut cases = vec![];
        for (name, op, size) in list {
            let inputs = recurrent::samples(&op.common, 4, size);
            cases.push(Case::with_optional(name, op, inputs).constant(&[1, 2, 3]));
        }
        cases.extend(more(plain()));
        cases
    }
}

/// Cases with every optional input, the batch axis first, other functions, and types other than f32.
fn more(plain: Recurrent) -> Vec<Case> {
    let op = |common: &Recurrent| Lstm {
        common: common.clone(),
        input_forget: false,
    };
    let size = (5, 3, 4, 6);
    let both = plain.clone().direction(Direction::Both);
    let full = |of: &Recurrent| {
        let mut inputs = recurrent::samples(of, 4, size);
        let d = of.directions();
        let state = if of.batch_first { [3, d, 6] } else { [d, 3, 6] };
        inputs.push(Some(samples::of(&[3], &[5i32, 2, 4])));
        inputs.push(Some(samples::uniform(&state, 7)));
        inputs.push(Some(samples::uniform(&state, 8)));
        inputs.push(Some(samples::uniform(&[d, 18], 9)));
        inputs
    };
    let batch_first = Recurrent {
        batch_first: true,
        ..both.clone()
    };
    let other = Recurrent::new(&[Squash::HardSigmoid, Squash::Softsign, Squash::Elu]);
    let case = |name: &str, of: &Recurrent| Case::with_optional(name, op(of), full(of));
    let mut cases = vec![
        case("every input", &plain).constant(&[1, 2, 3, 7]),
        case("every input, both ways", &both).constant(&[1, 2, 3]),
        case("batch first", &batch_first).constant(&[1, 2, 3]),
        case("weights at run time", &both),
        case("other functions", &other).constant(&[1, 2, 3]),
    ];
    for dtype in [DType::F16, DType::F64, DType::BF16] {
        let mut inputs = recurrent::samples(&plain, 4, size);
        for t in inputs.iter_mut().flatten() {
            *t = t.cast(dtype).expect("floats convert");
        }
        let name = format!("{dtype}");
        cases.push(Case::with_optional(&name, op(&plain), inputs).constant(&[1, 2, 3]));
    }
    cases
}
