//! Einsum on the device: sums, strided copies and matrix products, one operand after another.

use super::{Label, Plan};
use crate::dim::Dim;
use crate::lower::Lower;
use crate::ops::matmul::emit_product;
use crate::{Error, Result};
use std::collections::BTreeMap;
use tilewright_kernels::{self as kernels, Gemm, Reduction, Region, Store, Strides, View};
use tilewright_tensor::Shape;

/// Axes that a strided copy takes.
const AXES: usize = 8;

/// What a product of two operands does with each of their labels, once those of one operand alone are summed.
struct Roles {
    /// In both and in the result.
    batch: Vec<Label>,
    /// In the first and in the result.
    rows: Vec<Label>,
    /// In the second and in the result.
    columns: Vec<Label>,
    /// In both only.
    summed: Vec<Label>,
}

impl Roles {
    fn of(a: &[Label], b: &[Label], want: &[Label]) -> Roles {
        let pick = |from: &[Label], keep: &dyn Fn(&Label) -> bool| {
            from.iter().copied().filter(|l| keep(l)).collect()
        };
        Roles {
            batch: pick(want, &|l| a.contains(l) && b.contains(l)),
            rows: pick(want, &|l| a.contains(l) && !b.contains(l)),
            columns: pick(want, &|l| !a.contains(l) && b.contains(l)),
            summed: pick(a, &|l| b.contains(l) && !want.contains(l)),
        }
    }

    /// Whether nothing is summed and nothing combined: a product by element.
    fn by_element(&self) -> bool {
        self.rows.is_empty() && self.columns.is_empty() && self.summed.is_empty()
    }
}

impl Plan {
    /// The labels that are still needed once the first `done` inputs are joined; in the order of the output, then of
    /// the inputs.
    fn needed(&self, so_far: &[Label], done: usize) -> Vec<Label> {
        if done == self.inputs.len() {
            return self.output.clone();
        }
        let later = |l: &&Label| self.inputs[done..].iter().any(|term| term.contains(l));
        let mut out: Vec<Label> = self
            .output
            .iter()
            .filter(|l| so_far.contains(l))
            .copied()
            .collect();
        let rest: Vec<Label> = so_far
            .iter()
            .filter(|l| !out.contains(l))
            .filter(later)
            .copied()
            .collect();
        out.extend(rest);
        out
    }

    /// The products: labels of the result so far, of the next input, and of what they become.
    fn products(&self) -> Vec<[Vec<Label>; 3]> {
        let mut so_far = unique(&self.inputs[0]);
        let mut out = vec![];
        for i in 1..self.inputs.len() {
            let next = unique(&self.inputs[i]);
            let mut both = so_far.clone();
            both.extend(next.iter().filter(|l| !so_far.contains(l)));
            let want = self.needed(&both, i + 1);
            out.push([so_far, next, want.clone()]);
            so_far = want;
        }
        out
    }

    /// Why the device cannot do it, if so.
    pub(super) fn why_not(&self) -> Option<&'static str> {
        let mut labels = self.inputs.concat();
        labels.sort_unstable();
        labels.dedup();
        if labels.len() > AXES {
            return Some("more than 8 labels");
        }
        let by_element = |[a, b, want]: &[Vec<Label>; 3]| Roles::of(a, b, want).by_element();
        let any = self.products().iter().any(by_element);
        any.then_some("a product by element")
    }
}

/// The labels, each once, in the order in which they come.
fn unique(labels: &[Label]) -> Vec<Label> {
    let mut out = vec![];
    for l in labels {
        if !out.contains(l) {
            out.push(*l);
        }
    }
    out
}

/// A tensor on the device whose axes are labelled.
struct Operand {
    view: View,
    labels: Vec<Label>,
    /// Elements from one index of a label to the next; 0 where the tensor broadcasts.
    by: Vec<isize>,
}

/// Emits an equation's dispatches.
pub(super) struct Emitter<'a, 'b> {
    cx: &'a mut Lower<'b>,
    sizes: BTreeMap<Label, usize>,
}

impl<'a, 'b> Emitter<'a, 'b> {
    /// Emits all of `plan`.
    pub(super) fn run(plan: &Plan, cx: &'a mut Lower<'b>) -> Result<()> {
        let views = (0..plan.inputs.len())
            .map(|i| cx.input(i))
            .collect::<Result<Vec<_>>>()?;
        let dims = |v: &View| v.shape.iter().map(|&n| n.into()).collect::<Vec<Dim>>();
        let shapes: Vec<Vec<Dim>> = views.iter().map(dims).collect();
        let sizes = plan.sizes(&shapes.iter().map(|s| &s[..]).collect::<Vec<_>>())?;
        let known = |(label, n): (Label, Dim)| {
            let n = n.known().and_then(|n| usize::try_from(n).ok());
            n.map(|n| (label, n))
                .ok_or_else(|| Error::op("Einsum", "an unknown size"))
        };
        let sizes = sizes
            .into_iter()
            .map(known)
            .collect::<Result<BTreeMap<_, _>>>()?;
        let y = cx.output(0)?;
        if sizes.values().any(|&n| n == 0) {
            // The sum of nothing.
            cx.emit(kernels::fill(cx.caps(), &y, 0)?);
            return Ok(());
        }
        let mut operands = vec![];
        for (i, view) in views.into_iter().enumerate() {
            let labels = unique(&plan.inputs[i]);
            let by = plan.steps(i, &Shape::new(view.shape.clone()), &labels);
            operands.push(Operand { view, labels, by });
        }
        let mut emitter = Emitter { cx, sizes };
        let mut operands = operands.into_iter();
        let Some(mut so_far) = operands.next() else {
            return Ok(());
        };
        let products = plan.products();
        if products.is_empty() {
            emitter.alone(so_far, &plan.output, Some(y))?;
            return Ok(());
        }
        let last = products.len() - 1;
        for ((i, [_, _, want]), next) in products.into_iter().enumerate().zip(operands) {
            let to = (i == last).then(|| y.clone());
            so_far = emitter.product(so_far, next, &want, to)?;
        }
        Ok(())
    }

    fn shape(&self, labels: &[Label]) -> Vec<usize> {
        labels.iter().map(|l| self.sizes[l]).collect()
    }

    fn count(&self, labels: &[Label]) -> usize {
        labels.iter().map(|l| self.sizes[l]).product()
    }

    /// A dense operand.
    fn dense(&self, view: View, labels: &[Label]) -> Operand {
        let shape = self.shape(labels);
        Operand {
            by: Strides::of(&shape).by,
            view: View { shape, ..view },
            labels: labels.into(),
        }
    }

    /// Whether an operand holds the elements of its labels one after another.
    fn is_dense(&self, a: &Operand) -> bool {
        let shape = self.shape(&a.labels);
        let walk = shape.iter().zip(&a.by).zip(Strides::of(&shape).by);
        walk.into_iter()
            .all(|((&n, &by), dense)| n == 1 || by == dense)
    }

    fn place(&mut self, to: Option<View>, labels: &[Label]) -> View {
        let shape = self.shape(labels);
        match to {
            Some(view) => View { shape, ..view },
            None => self.cx.scratch(Store::F32, shape),
        }
    }

    /// `a` with its labels in the order `want`, in `to` or anywhere.
    fn arranged(&mut self, a: Operand, want: &[Label], to: Option<View>) -> Result<Operand> {
        if to.is_none() && a.labels == want && self.is_dense(&a) {
            return Ok(self.dense(a.view, want));
        }
        let y = self.place(to, want);
        let step = |l: &Label| {
            a.labels
                .iter()
                .position(|own| own == l)
                .map_or(0, |i| a.by[i])
        };
        let from = Strides {
            offset: 0,
            by: want.iter().map(step).collect(),
        };
        let region = Region {
            to: Strides::of(&y.shape),
            shape: y.shape.clone(),
            from,
        };
        self.cx
            .emit(kernels::copy(self.cx.caps(), &a.view, &y, &region)?);
        Ok(self.dense(y, want))
    }

    /// `a` summed over the labels that are not wanted.
    fn alone(&mut self, a: Operand, want: &[Label], to: Option<View>) -> Result<Operand> {
        let own: Vec<Label> = a
            .labels
            .iter()
            .filter(|l| !want.contains(l))
            .copied()
            .collect();
        if own.is_empty() {
            return self.arranged(a, want, to);
        }
        let kept: Vec<Label> = a
            .labels
            .iter()
            .filter(|l| want.contains(l))
            .copied()
            .collect();
        let a = if kept == want && self.is_dense(&a) {
            let labels = a.labels.clone();
            self.dense(a.view, &labels)
        } else {
            self.arranged(a, &[want, &own].concat(), None)?
        };
        let axes = a.labels.iter().enumerate().filter(|(_, l)| own.contains(l));
        let axes: Vec<usize> = axes.map(|(axis, _)| axis).collect();
        let y = self.place(to, want);
        let bytes = kernels::reduce_scratch(self.cx.caps(), &a.view.shape, &axes) as usize;
        let scratch = (bytes > 0).then(|| self.cx.scratch(Store::F32, [bytes / 4]));
        let caps = self.cx.caps();
        let sum = kernels::reduce(caps, &a.view, &axes, &y, Reduction::Sum, scratch.as_ref())?;
        self.cx.emit(sum);
        Ok(self.dense(y, want))
    }

    /// `a` as matrices, and whether they are transposed.
    fn matrices(
        &mut self,
        a: Operand,
        [batch, rows, columns]: [&[Label]; 3],
    ) -> Result<(View, bool)> {
        let across = [batch, columns, rows].concat();
        let transposed = a.labels == across && self.is_dense(&a);
        let order = if transposed {
            across
        } else {
            [batch, rows, columns].concat()
        };
        let view = self.arranged(a, &order, None)?.view;
        let [r, c] = if transposed {
            [columns, rows]
        } else {
            [rows, columns]
        };
        let shape = [batch, r, c].map(|labels| self.count(labels)).to_vec();
        Ok((View { shape, ..view }, transposed))
    }

    /// The product of two operands, with the labels `want`, in `to` or anywhere.
    fn product(
        &mut self,
        a: Operand,
        b: Operand,
        want: &[Label],
        to: Option<View>,
    ) -> Result<Operand> {
        let needed = |own: &[Label], other: &[Label]| -> Vec<Label> {
            let needed = |l: &&Label| want.contains(l) || other.contains(l);
            own.iter().filter(needed).copied().collect()
        };
        let (mine, theirs) = (needed(&a.labels, &b.labels), needed(&b.labels, &a.labels));
        let mut a = if mine == a.labels {
            a
        } else {
            self.alone(a, &mine, None)?
        };
        let mut b = if theirs == b.labels {
            b
        } else {
            self.alone(b, &theirs, None)?
        };
        let mut roles = Roles::of(&a.labels, &b.labels, want);
        // The other way round gives the transposed matrices.
        if want == [&roles.batch[..], &roles.columns, &roles.rows].concat() {
            std::mem::swap(&mut a, &mut b);
            std::mem::swap(&mut roles.rows, &mut roles.columns);
        }
        let Roles {
            batch,
            rows,
            columns,
            summed,
        } = roles;
        let made = [&batch[..], &rows, &columns].concat();
        let direct = made == want;
        let (a, trans_a) = self.matrices(a, [&batch, &rows, &summed])?;
        let (b, trans_b) = self.matrices(b, [&batch, &summed, &columns])?;
        let y = self.place(to.clone().filter(|_| direct), &made);
        let c = View {
            shape: [&batch, &rows, &columns].map(|l| self.count(l)).to_vec(),
            ..y.clone()
        };
        let product = Gemm::of(&a, trans_a, &b, trans_b, &c, None)?;
        emit_product(self.cx, &product)?;
        let made = self.dense(y, &made);
        if direct {
            return Ok(made);
        }
        self.arranged(made, want, to)
    }
}
