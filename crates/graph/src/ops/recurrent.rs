//! What LSTM, GRU and RNN share: attributes, shapes, and the walk over directions, batch items and steps.

use super::squash::{Activation, Squash};
use super::squash::{SQUASHES, activations};
use crate::dim::Dim;
use crate::fact::{Facts, Tensors};
use crate::{Attrs, Error, Fact, Result};
use tilewright_tensor::HostTensor;

/// Which way a sequence is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From its start.
    Forward,
    /// From its end; outputs keep their places.
    Reverse,
    /// Both, with weights of their own.
    Both,
}

/// The attributes that LSTM, GRU and RNN have in common.
#[derive(Clone, Debug)]
pub struct Recurrent {
    /// Which way sequences are read.
    pub direction: Direction,
    /// The functions of one direction, then those of the other.
    pub activations: Vec<Activation>,
    /// Bound on the inputs of the functions.
    pub clip: Option<f32>,
    /// Number of hidden units, if stated; the weights say it too.
    pub hidden_size: Option<i64>,
    /// Inputs and outputs begin with the batch axis instead of the sequence or the direction axis.
    pub batch_first: bool,
}

impl Recurrent {
    /// One direction with these functions, sequence first, not clipped.
    pub fn new(squashes: &[Squash]) -> Recurrent {
        Recurrent {
            direction: Direction::Forward,
            activations: squashes.iter().map(|s| Activation::new(*s)).collect(),
            clip: None,
            hidden_size: None,
            batch_first: false,
        }
    }

    /// The same in another direction.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Recurrent {
        if direction == Direction::Both && self.direction != Direction::Both {
            self.activations.extend_from_within(..);
        }
        self.direction = direction;
        self
    }

    /// Reads the attributes; `default` are the functions of one direction.
    pub(super) fn from_attrs(attrs: &Attrs, default: &[Squash]) -> Result<Recurrent> {
        let direction: String = attrs.or("direction", "forward".to_owned())?;
        let direction = match direction.as_str() {
            "forward" => Direction::Forward,
            "reverse" => Direction::Reverse,
            "bidirectional" => Direction::Both,
            other => return Err(Error::op(attrs.op(), format!("direction is `{other}`"))),
        };
        let wanted = default.len() * if direction == Direction::Both { 2 } else { 1 };
        let clip: Option<f32> = attrs.opt("clip")?;
        if clip.is_some_and(|c| c.is_nan() || c < 0.0) {
            return Err(Error::op(attrs.op(), format!("clip is {clip:?}")));
        }
        Ok(Recurrent {
            direction,
            activations: activations(attrs, default, wanted)?,
            clip,
            hidden_size: attrs.opt("hidden_size")?,
            batch_first: attrs.or("layout", false)?,
        })
    }

    /// Adds the attributes to those of the operator.
    pub(super) fn write(&self, attrs: Attrs) -> Attrs {
        let of = |a: &Activation| SQUASHES[a.squash as usize];
        let names: Vec<String> = (self.activations.iter())
            .map(|a| of(a).1.to_owned())
            .collect();
        let alphas = self.activations.iter().filter(|a| of(a).2.is_some());
        let betas = self.activations.iter().filter(|a| of(a).3.is_some());
        let direction = match self.direction {
            Direction::Forward => "forward",
            Direction::Reverse => "reverse",
            Direction::Both => "bidirectional",
        };
        attrs
            .with("direction", direction.to_owned())
            .with("activations", names)
            .with(
                "activation_alpha",
                alphas.map(|a| a.alpha).collect::<Vec<_>>(),
            )
            .with("activation_beta", betas.map(|a| a.beta).collect::<Vec<_>>())
            .with_opt("clip", self.clip)
            .with_opt("hidden_size", self.hidden_size)
            .with("layout", self.batch_first)
    }

    /// Number of directions.
    pub(super) fn directions(&self) -> usize {
        if self.direction == Direction::Both {
            2
        } else {
            1
        }
    }

    /// The functions of a direction.
    pub(super) fn activations(&self, direction: usize) -> &[Activation] {
        let each = self.activations.len() / self.directions();
        &self.activations[direction * each..][..each]
    }

    /// True if direction number `direction` reads sequences from their end.
    pub(super) fn backward(&self, direction: usize) -> bool {
        direction == 1 || self.direction == Direction::Reverse
    }

    /// Facts of Y, Y_h and, with two states, Y_c.
    pub(super) fn infer(
        &self,
        inputs: Facts<'_>,
        gates: usize,
        states: usize,
    ) -> Result<Vec<Fact>> {
        let (x, w, r) = (inputs.req(0)?, inputs.req(1)?, inputs.req(2)?);
        if [x, w, r].iter().any(|f| f.rank() != 3) {
            let what = format!("X, W and R must have 3 axes, got {x}, {w}, {r}");
            return Err(inputs.error(what));
        }
        if !x.dtype.is_float() || w.dtype != x.dtype || r.dtype != x.dtype {
            return Err(inputs.error(format!("X, W and R are {x}, {w}, {r}")));
        }
        let hidden = r.shape[2].clone();
        let agree = |what: &str, got: &Dim, want: Dim| match (got.known(), want.known()) {
            (Some(a), Some(b)) if a != b => {
                Err(inputs.error(format!("{what} is {a}, expected {b}")))
            }
            _ => Ok(()),
        };
        let directions = Dim::from(self.directions());
        let rows = hidden.clone() * Dim::from(gates);
        agree(
            "the number of directions of W",
            &w.shape[0],
            directions.clone(),
        )?;
        agree(
            "the number of directions of R",
            &r.shape[0],
            directions.clone(),
        )?;
        agree("the number of rows of W", &w.shape[1], rows.clone())?;
        agree("the number of rows of R", &r.shape[1], rows)?;
        agree("the input size of W", &w.shape[2], x.shape[2].clone())?;
        if let Some(stated) = self.hidden_size {
            agree("hidden_size", &stated.into(), hidden.clone())?;
        }
        let (first, second) = (x.shape[0].clone(), x.shape[1].clone());
        let (y, last) = if self.batch_first {
            (
                vec![first.clone(), second, directions.clone(), hidden.clone()],
                vec![first, directions, hidden],
            )
        } else {
            (
                vec![first, directions.clone(), second.clone(), hidden.clone()],
                vec![directions, second, hidden],
            )
        };
        let last = Fact::new(x.dtype, last);
        let mut out = vec![Fact::new(x.dtype, y)];
        out.extend(std::iter::repeat_n(last, states));
        Ok(out)
    }
}

/// Sizes of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) steps: usize,
    pub(super) batch: usize,
    pub(super) input: usize,
    pub(super) hidden: usize,
    pub(super) directions: usize,
}

impl Sizes {
    /// From the shapes of X and R.
    pub(super) fn new(of: &Recurrent, x: &[usize], r: &[usize]) -> Sizes {
        let (steps, batch) = if of.batch_first {
            (x[1], x[0])
        } else {
            (x[0], x[1])
        };
        Sizes {
            steps,
            batch,
            input: x[2],
            hidden: r[2],
            directions: of.directions(),
        }
    }
}

/// The weights of one direction as the host walks them.
pub(super) struct Weights<'a> {
    pub(super) hidden: usize,
    pub(super) r: &'a [f64],
    /// Bias of the recurrence, gate by gate.
    pub(super) bias: &'a [f64],
    pub(super) activations: &'a [Activation],
    clip: Option<f64>,
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Weights<'_> {
    /// Unit `unit` of `gate`'s recurrence, with its bias.
    pub(super) fn recur(&self, gate: usize, unit: usize, h: &[f64]) -> f64 {
        let row = gate * self.hidden + unit;
        dot(&self.r[row * self.hidden..][..self.hidden], h) + self.bias[row]
    }

    /// Function number `function` of x, clipped before.
    pub(super) fn activate(&self, function: usize, x: f64) -> f64 {
        let x = self.clip.map_or(x, |c| x.clamp(-c, c));
        self.activations[function].apply(x)
    }
}

/// The layer on the host. `step` gets the direction, its weights, the projected input of an item (all gates, with the
/// input's bias) and the item's states, and writes the new states; the first state is the output.
pub(super) fn walk(
    of: &Recurrent,
    inputs: Tensors<'_>,
    gates: usize,
    states: usize,
    step: impl Fn(usize, &Weights<'_>, &[f64], &mut [Vec<f64>]),
) -> Result<Vec<HostTensor>> {
    let facts: Vec<Fact> = (0..3)
        .map(|i| inputs.req(i).map(|t| Fact::sized(t.dtype(), t.shape())))
        .collect::<Result<_>>()?;
    let facts: Vec<Option<&Fact>> = facts.iter().map(Some).collect();
    let shapes = of.infer(Facts::new(inputs.op(), &facts), gates, states)?;
    let (x, r) = (inputs.req(0)?, inputs.req(2)?);
    let size = Sizes::new(of, x.shape(), r.shape());
    let (rows, dtype) = (gates * size.hidden, x.dtype());
    let bias = values(inputs, 3, size.directions * 2 * rows)?;
    let lengths = lengths(inputs, &size)?;
    let initial: Vec<Vec<f64>> = (0..states)
        .map(|s| values(inputs, 5 + s, size.directions * size.batch * size.hidden))
        .collect::<Result<_>>()?;
    let (x, w, r) = (x.to_f64(), inputs.req(1)?.to_f64(), r.to_f64());
    let at = Places { of, size };
    let mut y = vec![0.0; size.steps * size.directions * size.batch * size.hidden];
    let mut last = initial.clone();
    for direction in 0..size.directions {
        let (input_bias, bias) = bias[direction * 2 * rows..][..2 * rows].split_at(rows);
        let weights = Weights {
            hidden: size.hidden,
            r: &r[direction * rows * size.hidden..][..rows * size.hidden],
            bias,
            activations: of.activations(direction),
            clip: of.clip.map(f64::from),
        };
        let w = &w[direction * rows * size.input..][..rows * size.input];
        for item in 0..size.batch {
            let of_state = at.state(direction, item);
            let own = initial.iter().map(|s| s[of_state.clone()].to_vec());
            let mut state: Vec<Vec<f64>> = own.collect();
            let (length, backward) = (lengths[item], of.backward(direction));
            for t in 0..length {
                let t = if backward { length - 1 - t } else { t };
                let x = &x[at.x(t, item)..][..size.input];
                let project =
                    |(row, b): (usize, &f64)| b + dot(&w[row * size.input..][..size.input], x);
                let projected: Vec<f64> = input_bias.iter().enumerate().map(project).collect();
                step(direction, &weights, &projected, &mut state);
                y[at.y(t, direction, item)..][..size.hidden].copy_from_slice(&state[0]);
            }
            for (last, state) in last.iter_mut().zip(state) {
                last[of_state.clone()].copy_from_slice(&state);
            }
        }
    }
    let all = std::iter::once(y).chain(last);
    let tensor = |(fact, values): (&Fact, Vec<f64>)| {
        let shape = fact.bind(&Default::default())?;
        Ok(HostTensor::from_f64(dtype, shape, values)?)
    };
    shapes.iter().zip(all).map(tensor).collect()
}

/// Where items lie.
struct Places<'a> {
    of: &'a Recurrent,
    size: Sizes,
}

impl Places<'_> {
    fn x(&self, t: usize, item: usize) -> usize {
        let index = if self.of.batch_first {
            item * self.size.steps + t
        } else {
            t * self.size.batch + item
        };
        index * self.size.input
    }

    fn y(&self, t: usize, direction: usize, item: usize) -> usize {
        let s = self.size;
        let index = if self.of.batch_first {
            (item * s.steps + t) * s.directions + direction
        } else {
            (t * s.directions + direction) * s.batch + item
        };
        index * s.hidden
    }

    fn state(&self, direction: usize, item: usize) -> std::ops::Range<usize> {
        let s = self.size;
        let index = if self.of.batch_first {
            item * s.directions + direction
        } else {
            direction * s.batch + item
        };
        index * s.hidden..(index + 1) * s.hidden
    }
}

/// The floats of an optional input, zeros where it is left out.
pub(super) fn values(inputs: Tensors<'_>, i: usize, len: usize) -> Result<Vec<f64>> {
    match inputs.opt(i) {
        None => Ok(vec![0.0; len]),
        Some(t) if t.len() == len => Ok(t.to_f64()),
        Some(t) => Err(inputs.error(format!(
            "input {i} has a shape of {:?}, {len} elements are needed",
            t.shape()
        ))),
    }
}

/// The length of each item's sequence.
fn lengths(inputs: Tensors<'_>, size: &Sizes) -> Result<Vec<usize>> {
    let Some(t) = inputs.opt(4) else {
        return Ok(vec![size.steps; size.batch]);
    };
    let lengths: Option<Vec<usize>> = (t.to_i64()?.into_iter())
        .map(|n| usize::try_from(n).ok().filter(|&n| n <= size.steps))
        .collect();
    lengths.filter(|l| l.len() == size.batch).ok_or_else(|| {
        let (batch, steps) = (size.batch, size.steps);
        inputs.error(format!(
            "sequence_lens must be {batch} lengths of 0 to {steps}"
        ))
    })
}

/// X, W, R and B of (steps, batch, input, hidden) for cases.
pub(super) fn samples(
    of: &Recurrent,
    gates: usize,
    (steps, batch, input, hidden): (usize, usize, usize, usize),
) -> Vec<Option<HostTensor>> {
    let (d, rows) = (of.directions(), gates * hidden);
    let x = if of.batch_first {
        [batch, steps, input]
    } else {
        [steps, batch, input]
    };
    vec![
        Some(crate::samples::uniform(&x, 1)),
        Some(crate::samples::uniform(&[d, rows, input], 2)),
        Some(crate::samples::uniform(&[d, rows, hidden], 3)),
        Some(crate::samples::uniform(&[d, 2 * rows], 4)),
    ]
}

/// Steps of the walk: every place of the sequence meets all weights.
pub(super) fn work(inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
    let count = |i: usize| inputs.opt(i).map_or(0, Fact::count);
    let places = inputs
        .opt(0)
        .map_or(0, |x| x.extent(0).saturating_mul(x.extent(1)));
    let weights = count(1).saturating_add(count(2));
    crate::op::touched(inputs, outputs).saturating_add(places.saturating_mul(weights))
}
