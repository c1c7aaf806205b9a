//! Recurrent layers: one product for the input of all steps, then for each step a product with the state and a cell.

use tilewright_device::{Caps, Dispatch, Variant};

use crate::error::index;
use crate::flat::flat;
use crate::softmax::f32_only;
use crate::{
    Error, Gemm, Layout, Operand, Region, Result, Store, Strides, Target, View, copy, fill, gemm,
};

const KERNEL: &str = "recurrent";

/// What a step computes; the state is h, an LSTM's memory c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Gates input, output, forget, cell.
    Lstm {
        /// The forget gate is one minus the input gate.
        coupled: bool,
    },
    /// Gates update, reset, hidden.
    Gru {
        /// The reset gate multiplies the product with the state, not the state.
        linear: bool,
    },
    /// One gate.
    Rnn,
}

/// Number, alpha and beta of a gate's function; the numbers are those of `part/squash`.
pub type Squash = (u32, f32, f32);

/// Weights of all directions: `rows` x k each, transposed for the product.
#[derive(Debug, Clone)]
pub struct Weights {
    /// The tensor.
    pub view: View,
    /// [`Layout::Cols`] as stored, or [`Layout::Panels`].
    pub layout: Layout,
    /// See [`Operand::ld`].
    pub ld: usize,
    /// Elements from one direction to the next.
    pub step: usize,
}

/// A layer. Tensors are f32; those of states are \[directions, batch, hidden\], or \[batch, directions, hidden\] with
/// `batch_first`.
#[derive(Debug, Clone)]
pub struct Recurrent<'a> {
    /// What a step computes.
    pub cell: Cell,
    /// Extents.
    pub steps: usize,
    /// Extents.
    pub batch: usize,
    /// Extents.
    pub input: usize,
    /// Extents.
    pub hidden: usize,
    /// X and Y begin with the batch axis, not with time.
    pub batch_first: bool,
    /// For each direction: whether it reads from the end, and its functions.
    pub directions: Vec<(bool, [Squash; 3])>,
    /// Bound on the inputs of the functions.
    pub clip: Option<f32>,
    /// \[steps, batch, input\], or \[batch, steps, input\].
    pub x: &'a View,
    /// Weights of the input, all directions side by side: one matrix of directions * gates * hidden rows.
    pub w: Weights,
    /// Weights of the state: all gates, but of a GRU that is not linear only the first two.
    pub r: Weights,
    /// The last gate's weights of a GRU that is not linear.
    pub r_hidden: Option<Weights>,
    /// \[directions, 2 * gates * hidden\].
    pub bias: Option<&'a View>,
    /// i32 \[batch\]: how many steps each item has.
    pub lengths: Option<&'a View>,
    /// \[directions, 3 * hidden\] of an LSTM.
    pub peepholes: Option<&'a View>,
    /// Initial state and memory; zeros if left out.
    pub initial: [Option<&'a View>; 2],
    /// \[steps, directions, batch, hidden\], or \[batch, steps, directions, hidden\].
    pub y: Option<&'a View>,
    /// The state, in the end the last one.
    pub h: &'a View,
    /// The memory of an LSTM.
    pub c: Option<&'a View>,
}

impl Recurrent<'_> {
    fn gates(&self) -> usize {
        match self.cell {
            Cell::Lstm { .. } => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    /// Gates that the state itself is multiplied for.
    fn state_gates(&self) -> usize {
        match self.cell {
            Cell::Gru { linear: false } => 2,
            _ => self.gates(),
        }
    }

    /// Elements of one tensor \[directions, batch, hidden\].
    fn state_len(&self) -> usize {
        self.directions.len() * self.batch * self.hidden
    }

    /// Strides of the state along direction and batch.
    fn state_strides(&self) -> [usize; 2] {
        let (d, h) = (self.directions.len(), self.hidden);
        if self.batch_first {
            [h, d * h]
        } else {
            [self.batch * h, h]
        }
    }

    /// Elements of the scratch tensors: projection, recurrence, and of a GRU that is not linear the held state and its
    /// product.
    #[must_use]
    pub fn scratch(&self) -> [usize; 4] {
        let rows = self.steps * self.batch;
        let state = self.state_len();
        let held = if matches!(self.cell, Cell::Gru { linear: false }) {
            state
        } else {
            0
        };
        [
            rows * self.directions.len() * self.gates() * self.hidden,
            state * self.state_gates(),
            held,
            held,
        ]
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::shape(KERNEL, what));
        let d = self.directions.len();
        if d == 0 || d > 2 {
            return wrong(format!("{d} directions"));
        }
        f32_only(KERNEL, &[("x", self.x), ("h", self.h)])?;
        let rows = self.steps * self.batch;
        let sizes = [
            ("x", Some(self.x), rows * self.input),
            ("y", self.y, rows * d * self.hidden),
            ("h", Some(self.h), self.state_len()),
            ("c", self.c, self.state_len()),
            ("initial_h", self.initial[0], self.state_len()),
            ("initial_c", self.initial[1], self.state_len()),
            ("bias", self.bias, d * 2 * self.gates() * self.hidden),
            ("lengths", self.lengths, self.batch),
            ("peepholes", self.peepholes, d * 3 * self.hidden),
        ];
        for (name, view, elements) in sizes {
            if view.is_some_and(|v| v.elements() != elements) {
                return wrong(format!("{name} must have {elements} elements"));
            }
        }
        if self.lengths.is_some_and(|l| l.store != Store::I32) {
            return wrong("lengths must be i32".into());
        }
        let lstm = matches!(self.cell, Cell::Lstm { .. });
        let held = matches!(self.cell, Cell::Gru { linear: false });
        if self.c.is_some() != lstm || self.r_hidden.is_some() != held {
            return wrong(format!("{:?} with the tensors of another cell", self.cell));
        }
        Ok(())
    }
}

/// The dispatches of a layer. `scratch` are f32 tensors of [`Recurrent::scratch`] elements; the last two only where these
/// are not 0. No extent but the number of steps may be 0.
///
/// # Errors
/// [`Error::Shape`], [`Error::Storage`], [`Error::TooLarge`].
pub fn recurrent<'a>(
    on: impl Into<Target<'a>>,
    of: &Recurrent<'_>,
    scratch: &[View; 4],
) -> Result<Vec<Dispatch>> {
    let on = on.into();
    let caps = on.caps;
    of.check()?;
    let mut out = vec![];
    for (state, initial) in [(Some(of.h), of.initial[0]), (of.c, of.initial[1])] {
        match (state, initial) {
            (Some(state), Some(from)) => {
                let walk = Strides::of(&state.shape);
                let region = Region {
                    shape: state.shape.clone(),
                    from: walk.clone(),
                    to: walk,
                };
                out.extend(copy(caps, from, state, &region)?);
            }
            (Some(state), None) => out.extend(fill(caps, state, 0)?),
            _ => {}
        }
    }
    if of.steps == 0 {
        return Ok(out);
    }
    out.extend(project(on, of, &scratch[0])?);
    let step = step(on, of, scratch)?;
    for t in 0..of.steps {
        let t = index(KERNEL, "the number of steps", t)?;
        out.extend(step.iter().map(|dispatch| match dispatch {
            (dispatch, true) => dispatch.clone().param("step", t),
            (dispatch, false) => dispatch.clone(),
        }));
    }
    Ok(out)
}

/// The input of all steps times the weights of all gates and directions.
fn project(on: Target<'_>, of: &Recurrent<'_>, into: &View) -> Result<Vec<Dispatch>> {
    let n = of.directions.len() * of.gates() * of.hidden;
    let operand = |view, layout, ld| Operand {
        view,
        layout,
        ld,
        batch: vec![],
    };
    gemm(
        on,
        &Gemm {
            m: of.steps * of.batch,
            n,
            k: of.input,
            batch: vec![],
            a: operand(of.x, Layout::Rows, of.input),
            b: operand(&of.w.view, of.w.layout, of.w.ld),
            c: operand(into, Layout::Rows, n),
            epilogue: None,
        },
    )
}

/// A tensor \[directions, batch, hidden\] with these strides times the weights of `gates` gates.
fn multiply(
    on: Target<'_>,
    of: &Recurrent<'_>,
    (a, [a_d, a_b]): (&View, [usize; 2]),
    weights: &Weights,
    gates: usize,
    into: &View,
) -> Result<Vec<Dispatch>> {
    let n = gates * of.hidden;
    let operand = |view, layout, ld, step| Operand {
        view,
        layout,
        ld,
        batch: vec![step],
    };
    gemm(
        on,
        &Gemm {
            m: of.batch,
            n,
            k: of.hidden,
            batch: vec![of.directions.len()],
            a: operand(a, Layout::Rows, a_b, a_d),
            b: operand(&weights.view, weights.layout, weights.ld, weights.step),
            c: operand(into, Layout::Rows, n, of.batch * n),
            epilogue: None,
        },
    )
}

/// The dispatches of a step, and whether they need its number.
fn step(on: Target<'_>, of: &Recurrent<'_>, scratch: &[View; 4]) -> Result<Vec<(Dispatch, bool)>> {
    let caps = on.caps;
    let [projected, recurred, reset, held] = scratch;
    let mut out = vec![];
    let mut plain =
        |dispatches: Vec<Dispatch>| out.extend(dispatches.into_iter().map(|d| (d, false)));
    let state = (of.h, of.state_strides());
    plain(multiply(on, of, state, &of.r, of.state_gates(), recurred)?);
    let state_parts = if of.y.is_some() {
        "cell_put"
    } else {
        "cell_put_state"
    };
    let Some(r_hidden) = &of.r_hidden else {
        let part = match of.cell {
            Cell::Lstm { .. } => "cell_lstm",
            Cell::Gru { .. } => "cell_gru_linear",
            Cell::Rnn => "cell_rnn",
        };
        out.extend(cells(
            caps,
            of,
            &[part, state_parts],
            projected,
            recurred,
            None,
        )?);
        return Ok(out);
    };
    let reset_cells = cells(
        caps,
        of,
        &["cell_reset"],
        projected,
        recurred,
        Some(("RESET", reset)),
    )?;
    out.extend(reset_cells);
    let rows = [of.batch * of.hidden, of.hidden];
    let product = multiply(on, of, (reset, rows), r_hidden, 1, held)?;
    out.extend(product.into_iter().map(|d| (d, false)));
    let held = Some(("HELD", held));
    out.extend(cells(
        caps,
        of,
        &["cell_gru", state_parts],
        projected,
        recurred,
        held,
    )?);
    Ok(out)
}

/// The cells of a step: one dispatch where all directions have the same functions.
fn cells(
    caps: &Caps,
    of: &Recurrent<'_>,
    parts: &[&'static str],
    projected: &View,
    recurred: &View,
    extra: Option<(&'static str, &View)>,
) -> Result<Vec<(Dispatch, bool)>> {
    let (_, functions) = of.directions[0];
    let together = of.directions.iter().all(|(_, f)| *f == functions);
    let count = if together { of.directions.len() } else { 1 };
    let firsts = (0..of.directions.len()).step_by(count);
    firsts
        .map(|first| {
            let mut dispatch = cell(caps, of, parts, first, count)?
                .bind("PROJECTED", projected.span)
                .bind("RECURRED", recurred.span)
                .bind("STATE", of.h.span);
            if let Some((name, view)) = extra {
                dispatch = dispatch.bind(name, view.span);
            }
            Ok((dispatch, true))
        })
        .collect()
}

/// The shader of the cells of direction `first`, which loads `width` elements at once.
fn cell_variant(of: &Recurrent<'_>, parts: &[&'static str], width: usize, first: usize) -> Variant {
    let wide = if width == 4 { "wide_four" } else { "wide_one" };
    let [f0, f1, f2] = of.directions[first].1;
    let mut variant = Variant::new("recurrent_cell")
        .part(wide)
        .part(if of.bias.is_some() {
            "cell_bias"
        } else {
            "cell_no_bias"
        })
        .part(if of.lengths.is_some() {
            "cell_lengths"
        } else {
            "cell_full"
        })
        .set("GATES", of.gates() as u32)
        .set("RGATES", of.state_gates() as u32)
        .set("CLIP", of.clip.is_some())
        .set("F0", f0.0)
        .set("F1", f1.0)
        .set("F2", f2.0);
    if let Cell::Lstm { coupled } = of.cell {
        let peepholes = if of.peepholes.is_some() {
            "cell_peepholes"
        } else {
            "cell_no_peepholes"
        };
        variant = variant.part(peepholes).set("COUPLED", coupled);
    }
    parts.iter().fold(variant, |v, part| v.part(part))
}

/// The cells of `count` directions from `first` on, without the operands that every cell has.
fn cell(
    caps: &Caps,
    of: &Recurrent<'_>,
    parts: &[&'static str],
    first: usize,
    count: usize,
) -> Result<Dispatch> {
    let width = if of.hidden % 4 == 0 { 4 } else { 1 };
    let variant = cell_variant(of, parts, width, first);
    let [f0, f1, f2] = of.directions[first].1;
    let work = count * of.batch * of.hidden / width;
    let param = |value: usize| index(KERNEL, "a stride", value / width);
    let (d, h) = (of.directions.len(), of.hidden);
    let (row, rows) = (d * of.gates() * h, [of.steps, of.batch]);
    // Along time and batch: of rows of X, and of Y.
    let (x, y) = if of.batch_first {
        ([row, rows[0] * row], [d * h, h, rows[0] * d * h])
    } else {
        ([rows[1] * row, row], [d * rows[1] * h, rows[1] * h, h])
    };
    let [h_d, h_b] = of.state_strides();
    let back =
        (of.directions.iter().rev()).fold(0u32, |bits, (back, _)| bits << 1 | u32::from(*back));
    let mut dispatch = flat(KERNEL, caps, variant, work)?
        .param("hidden", param(h)?)
        .param("batch", index(KERNEL, "the batch", of.batch)?)
        .param("first", first as u32)
        .param("steps", index(KERNEL, "the number of steps", of.steps)?)
        .param("back", back)
        .param("x_t", param(x[0])?)
        .param("x_b", param(x[1])?)
        .param("y_t", param(y[0])?)
        .param("y_d", param(y[1])?)
        .param("y_b", param(y[2])?)
        .param("h_d", param(h_d)?)
        .param("h_b", param(h_b)?)
        .param("clip", of.clip.unwrap_or(0.0))
        .param("alpha", [f0.1, f1.1, f2.1, 0.0])
        .param("beta", [f0.2, f1.2, f2.2, 0.0])
        .work((4 * work * width * of.gates()) as u64);
    let put = parts.contains(&"cell_put");
    for (name, view) in [
        ("BIAS", of.bias),
        ("LENGTHS", of.lengths),
        ("PEEPHOLES", of.peepholes),
        ("MEMORY", of.c),
        ("OUTPUT", of.y.filter(|_| put)),
    ] {
        if let Some(view) = view {
            dispatch = dispatch.bind(name, view.span);
        }
    }
    Ok(dispatch)
}
