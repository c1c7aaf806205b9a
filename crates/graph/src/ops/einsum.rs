//! Einsum: products of tensors, summed over labelled axes.

use crate::fact::{Facts, Tensors};
use crate::lower::{Lower, Place, Placing};
use crate::op::{Case, Operator};
use crate::ops::groups::{from_integers, integers};
use crate::{Attrs, Dim, Error, Fact, Result, samples};
use std::collections::BTreeMap;
use tilewright_tensor::{DType, HostTensor, Shape};

mod lower;

/// ONNX Einsum-28: `equation` labels the axes of every input, and those of the output after `->`; labels that are not in
/// the output are summed over. `...` stands for axes that broadcast.
#[derive(Clone, Debug)]
pub struct Einsum {
    /// The equation.
    pub equation: String,
}

/// What names an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// An axis of the ellipsis, counted from its last.
    Rest(usize),
    /// A letter.
    Letter(char),
}

/// A term as written: letters, and where the ellipsis stands.
struct Term {
    letters: Vec<char>,
    rest: Option<usize>,
}

/// An equation whose ellipses are resolved.
struct Plan {
    inputs: Vec<Vec<Label>>,
    output: Vec<Label>,
}

impl Term {
    fn parse(text: &str) -> Result<Term> {
        let (mut letters, mut rest) = (vec![], None);
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                'a'..='z' | 'A'..='Z' => letters.push(c),
                '.' if rest.is_none() && chars.next() == Some('.') && chars.next() == Some('.') => {
                    rest = Some(letters.len());
                }
                _ => return Err(Error::op("Einsum", format!("cannot read term {text:?}"))),
            }
        }
        Ok(Term { letters, rest })
    }

    /// The labels, if the ellipsis has `rest` axes.
    fn labels(&self, rest: usize) -> Vec<Label> {
        let (before, after) = self.letters.split_at(self.rest.unwrap_or(0));
        let letters = |part: &[char]| part.iter().copied().map(Label::Letter).collect::<Vec<_>>();
        let axes = (0..rest).rev().map(Label::Rest).collect();
        [letters(before), axes, letters(after)].concat()
    }
}

impl Plan {
    fn new(equation: &str, ranks: &[usize]) -> Result<Plan> {
        let error = |what: String| Error::op("Einsum", format!("{equation:?}: {what}"));
        let text: String = equation.chars().filter(|c| *c != ' ').collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(Term::parse(right)?)),
            None => (&text[..], None),
        };
        let terms = left
            .split(',')
            .map(Term::parse)
            .collect::<Result<Vec<_>>>()?;
        if terms.len() != ranks.len() {
            return Err(error(format!(
                "{} terms for {} inputs",
                terms.len(),
                ranks.len()
            )));
        }
        let mut inputs = vec![];
        let mut widest = 0;
        for (term, &rank) in terms.iter().zip(ranks) {
            let rest = rank.checked_sub(term.letters.len());
            let Some(rest) = rest.filter(|&r| r == 0 || term.rest.is_some()) else {
                return Err(error(format!(
                    "{} letters for {rank} axes",
                    term.letters.len()
                )));
            };
            widest = widest.max(rest);
            inputs.push(term.labels(rest));
        }
        let output = match right {
            Some(term) if term.rest.is_none() => term.labels(0),
            Some(term) => term.labels(widest),
            None => implied(&terms, widest),
        };
        for (i, label) in output.iter().enumerate() {
            if output[..i].contains(label) || !inputs.iter().any(|term| term.contains(label)) {
                return Err(error(format!(
                    "the output's {label:?} is not one axis of the inputs"
                )));
            }
        }
        Ok(Plan { inputs, output })
    }

    /// The size of each label, which is that of all axes it names; those of 1 broadcast.
    fn sizes(&self, shapes: &[&[Dim]]) -> Result<BTreeMap<Label, Dim>> {
        let mut sizes = BTreeMap::new();
        for (labels, shape) in self.inputs.iter().zip(shapes) {
            for (label, n) in labels.iter().zip(*shape) {
                let known: &mut Dim = sizes.entry(*label).or_insert_with(|| n.clone());
                match (known.known(), n.known()) {
                    (Some(1), _) => *known = n.clone(),
                    (_, Some(1)) => {}
                    (Some(a), Some(b)) if a != b => {
                        return Err(Error::op("Einsum", format!("{label:?} is {a} and {b}")));
                    }
                    // A number says more than a symbol, which must turn out to be it (or 1).
                    (None, Some(_)) => *known = n.clone(),
                    _ => {}
                }
            }
        }
        Ok(sizes)
    }

    /// The labels that are summed over.
    fn summed(&self, sizes: &BTreeMap<Label, Dim>) -> Vec<Label> {
        let labels = sizes.keys().copied();
        labels.filter(|l| !self.output.contains(l)).collect()
    }

    /// How far input `i`, of shape `shape`, moves along each of `labels`.
    fn steps(&self, i: usize, shape: &Shape, labels: &[Label]) -> Vec<isize> {
        let axes = || self.inputs[i].iter().zip(shape.iter()).zip(shape.strides());
        let step = |label: &Label| {
            // A repeated label walks a diagonal; an axis of 1 stands still.
            let own = axes().filter(|((l, n), _)| *l == label && **n != 1);
            own.map(|(_, stride)| stride).sum()
        };
        labels.iter().map(step).collect()
    }
}

/// The output where none is written: the ellipsis, then the letters that appear once, in the order of their codes.
fn implied(terms: &[Term], rest: usize) -> Vec<Label> {
    let mut letters: Vec<char> = terms.iter().flat_map(|t| t.letters.clone()).collect();
    letters.sort_unstable();
    let once = letters
        .chunk_by(|a, b| a == b)
        .filter(|same| same.len() == 1);
    let letters: Vec<char> = once.map(|same| same[0]).collect();
    Term {
        letters,
        rest: Some(0),
    }
    .labels(rest)
}

/// The sums of products of `values`: `out` walks the output, `sum` what is summed over.
fn contract<T: Copy>(
    values: &[Vec<T>],
    walks: &[Walk],
    one: T,
    zero: T,
    mul: impl Fn(T, T) -> T,
    add: impl Fn(T, T) -> T,
) -> Vec<T> {
    let at = |o: usize, s: usize| {
        let pairs = values.iter().zip(walks);
        pairs.fold(one, |p, (v, w)| mul(p, v[w.out[o] + w.sum[s]]))
    };
    let (outs, sums) = walks.first().map_or((1, 1), |w| (w.out.len(), w.sum.len()));
    (0..outs)
        .map(|o| (0..sums).fold(zero, |acc, s| add(acc, at(o, s))))
        .collect()
}

/// Offsets of one input for each output element, and for each summand from there.
struct Walk {
    out: Vec<usize>,
    sum: Vec<usize>,
}

impl Operator for Einsum {
    const NAMES: &'static [&'static str] = &["Einsum"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Einsum").with("equation", self.equation.clone())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(Einsum {
            equation: attrs.need("equation")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let facts = inputs.all()?;
        let ranks: Vec<usize> = facts.iter().map(|f| f.rank()).collect();
        let plan = Plan::new(&self.equation, &ranks)?;
        let shapes: Vec<&[Dim]> = facts.iter().map(|f| &f.shape[..]).collect();
        let sizes = plan.sizes(&shapes)?;
        if facts.iter().any(|f| f.dtype != facts[0].dtype) {
            return Err(inputs.error("inputs differ in type"));
        }
        let shape: Vec<Dim> = plan.output.iter().map(|l| sizes[l].clone()).collect();
        Ok(vec![Fact::new(inputs.req(0)?.dtype, shape)])
    }

    fn work(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let shapes: Vec<&[Dim]> = (0..inputs.len())
            .filter_map(|i| inputs.opt(i).map(|f| &f.shape[..]))
            .collect();
        let ranks: Vec<usize> = shapes.iter().map(|s| s.len()).collect();
        let sizes = Plan::new(&self.equation, &ranks).and_then(|plan| plan.sizes(&shapes));
        let Ok(sizes) = sizes else { return u64::MAX };
        let all = Fact::new(DType::F32, sizes.into_values().collect::<Vec<_>>());
        let each = inputs.len() as u64 + 1;
        crate::op::touched(inputs, outputs).saturating_add(all.count().saturating_mul(each))
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let tensors = inputs.all()?;
        let ranks: Vec<usize> = tensors.iter().map(|t| t.rank()).collect();
        let plan = Plan::new(&self.equation, &ranks)?;
        let dims = |t: &&HostTensor| t.shape().iter().map(|&n| n.into()).collect::<Vec<Dim>>();
        let shapes: Vec<Vec<Dim>> = tensors.iter().map(dims).collect();
        let sizes = plan.sizes(&shapes.iter().map(|s| &s[..]).collect::<Vec<_>>())?;
        let summed = plan.summed(&sizes);
        let extents = |labels: &[Label]| {
            let sizes: Vec<Dim> = labels.iter().map(|l| sizes[l].clone()).collect();
            Fact::new(DType::I64, sizes)
                .bind(&Default::default())
                .map(Shape::new)
        };
        let (out, sum) = (extents(&plan.output)?, extents(&summed)?);
        let walk = |i: usize, over: &Shape, labels: &[Label]| {
            let steps = plan.steps(i, tensors[i].shape(), labels);
            over.offsets([&steps]).map(|[at]| at).collect()
        };
        let walks: Vec<Walk> = (0..tensors.len())
            .map(|i| Walk {
                out: walk(i, &out, &plan.output),
                sum: walk(i, &sum, &summed),
            })
            .collect();
        let dtype = inputs.req(0)?.dtype();
        if dtype.is_float() {
            let values: Vec<_> = tensors.iter().map(|t| t.to_f64()).collect();
            let y = contract(&values, &walks, 1.0, 0.0, |a, b| a * b, |a, b| a + b);
            return Ok(vec![HostTensor::from_f64(dtype, out, y)?]);
        }
        let values: Vec<_> = tensors.iter().map(|t| integers(t)).collect::<Result<_>>()?;
        let y = contract(
            &values,
            &walks,
            1,
            0,
            i128::wrapping_mul,
            i128::wrapping_add,
        );
        Ok(vec![from_integers(dtype, out, y)?])
    }

    fn place(&self, cx: &Placing<'_>) -> Place {
        let ranks = (0..cx.inputs.len()).filter_map(|i| cx.inputs.opt(i));
        let ranks: Vec<usize> = ranks.map(Fact::rank).collect();
        match Plan::new(&self.equation, &ranks) {
            Ok(plan) => plan.why_not().map_or_else(|| cx.floats_only(), Place::host),
            Err(e) => Place::host(e.to_string()),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>) -> Result<()> {
        let ranks = (0..cx.input_count()).map(|i| Ok(cx.input(i)?.shape.len()));
        let ranks = ranks.collect::<Result<Vec<_>>>()?;
        lower::Emitter::run(&Plan::new(&self.equation, &ranks)?, cx)
    }

    fn folds(&self) -> bool {
        // A product of weights is heavy, and the device can do it.
        false
    }

    fn cases() -> Vec<Case> {
        let table: [(&str, &[&[usize]]); 26] = [
            ("ij,jk->ik", &[&[3, 4], &[4, 5]]),
            ("ij,jk", &[&[3, 4], &[4, 5]]),
            ("bij,bjk->bik", &[&[2, 3, 4], &[2, 4, 5]]),
            ("bhqd,bhkd->bhqk", &[&[2, 3, 4, 5], &[2, 3, 6, 5]]),
            ("ij->ji", &[&[3, 4]]),
            ("ba", &[&[3, 4]]),
            ("ij->i", &[&[3, 4]]),
            ("ij->", &[&[3, 4]]),
            ("ii->i", &[&[4, 4]]),
            ("ii", &[&[4, 4]]),
            ("...ii->...i", &[&[3, 5, 5]]),
            ("i,i", &[&[6], &[6]]),
            ("i,j->ij", &[&[2], &[3]]),
            (" a b , b c , c d -> a d ", &[&[2, 3], &[3, 4], &[4, 5]]),
            ("...ij,...jk->...ik", &[&[2, 3, 4, 5], &[3, 5, 2]]),
            ("...i,...i", &[&[2, 3, 4], &[1, 4]]),
            ("ij,ij->ij", &[&[3, 1], &[3, 4]]),
            (",a", &[&[], &[3]]),
            ("bqhd,bkhd->bhqk", &[&[2, 5, 3, 4], &[2, 6, 3, 4]]),
            ("bhqk,bkhd->bqhd", &[&[2, 3, 5, 6], &[2, 6, 3, 4]]),
            ("ij,kj->ki", &[&[3, 4], &[5, 4]]),
            ("ij,jk->kji", &[&[3, 4], &[4, 5]]),
            ("iij,jkl->ki", &[&[3, 3, 4], &[4, 5, 2]]),
            ("ij,jk,kl,lm->mi", &[&[2, 3], &[3, 4], &[4, 5], &[5, 2]]),
            ("...ij->ji...", &[&[2, 3, 4, 5]]),
            ("ab,bc->", &[&[3, 4], &[4, 0]]),
        ];
        let mut out = vec![];
        for (equation, shapes) in table {
            for (dtype, nmse) in [
                (DType::F32, 1e-10),
                (DType::F16, 1e-6),
                (DType::F64, 1e-10),
                (DType::I32, 0.0),
                (DType::U8, 0.0),
            ] {
                let inputs = shapes.iter().enumerate().map(|(i, shape)| {
                    if dtype.is_float() {
                        let x = samples::uniform(shape, i as u64).cast(dtype);
                        return x.expect("a cast between floats");
                    }
                    samples::integers(dtype, shape, i as u64, 0, 9)
                });
                let op = Einsum {
                    equation: equation.into(),
                };
                let title = format!("{equation} {dtype}");
                out.push(Case::new(&title, op, inputs.collect()).nmse(nmse));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_equations_are_errors() {
        for (equation, ranks) in [
            ("ij", &[3][..]),
            ("ij,jk", &[2]),
            ("i->j", &[1]),
            ("i->ii", &[1]),
            ("i..", &[2]),
            ("i1", &[2]),
            ("ij->...", &[2]),
        ] {
            let plan = Plan::new(equation, ranks);
            // An ellipsis of no axes is fine.
            assert_eq!(plan.is_ok(), equation == "ij->...", "{equation}");
        }
    }

    #[test]
    fn a_product_by_hand() {
        let a = samples::of(&[2, 2], &[1i64, 2, 3, 4]);
        let op = Einsum {
            equation: "ij,kj->ki".into(),
        };
        let inputs = [Some(&a), Some(&a)];
        let y = op.reference(Tensors::new("Einsum", &inputs)).unwrap();
        assert_eq!(y[0].to_i64().unwrap(), [5, 11, 11, 25]);
    }
}
