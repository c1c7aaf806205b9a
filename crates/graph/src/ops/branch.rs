//! If: one of two graphs, chosen at run time.

use crate::control::{Turn, Walk, any_value, drive, outputs_of, single};
use crate::fact::{Facts, Tensors};
use crate::limits::Meter;
use crate::lower::{Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Graph, Result, RunLimits, samples};
use std::sync::Arc;
use tilewright_tensor::{DType, HostTensor};

/// ONNX If-25. Input 0 is the condition. The values that the branches take from around them follow: first those of
/// `else_branch`, then those of `then_branch`, each in the order of the branch's inputs.
#[derive(Clone, Debug)]
pub struct If {
    /// Runs where the condition is false.
    pub else_branch: Arc<Graph>,
    /// Runs where it is true.
    pub then_branch: Arc<Graph>,
}

impl If {
    /// A branch and the place of its inputs among the node's.
    pub(crate) fn branch(&self, condition: bool) -> (&Arc<Graph>, std::ops::Range<usize>) {
        let middle = 1 + self.else_branch.inputs().len();
        if condition {
            (
                &self.then_branch,
                middle..middle + self.then_branch.inputs().len(),
            )
        } else {
            (&self.else_branch, 1..middle)
        }
    }

    fn facts(&self, condition: bool, inputs: Facts<'_>) -> Result<Vec<Option<Fact>>> {
        let (graph, range) = self.branch(condition);
        let facts: Vec<Fact> = range
            .map(|i| inputs.req(i).cloned())
            .collect::<Result<_>>()?;
        Ok(outputs_of(graph, &facts))
    }

    pub(crate) fn walk(&self, inputs: Tensors<'_>) -> Result<impl Walk + use<>> {
        let condition = single(inputs, 0)?.ok_or_else(|| inputs.error("it has no condition"))?;
        let (graph, range) = self.branch(condition != 0);
        let taken = range.map(|i| inputs.req(i).cloned());
        let turn = Turn {
            body: graph.clone(),
            inputs: taken.collect::<Result<_>>()?,
        };
        Ok(Once {
            turn: Some(turn),
            outputs: vec![],
        })
    }
}

struct Once {
    turn: Option<Turn>,
    outputs: Vec<HostTensor>,
}

impl Walk for Once {
    fn next(&mut self) -> Result<Option<Turn>> {
        Ok(self.turn.take())
    }

    fn accept(&mut self, outputs: Vec<HostTensor>) -> Result<()> {
        self.outputs = outputs;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<HostTensor>> {
        Ok(self.outputs)
    }
}

impl Operator for If {
    const NAMES: &'static [&'static str] = &["If"];

    fn attrs(&self) -> Attrs {
        Attrs::new("If")
            .with("else_branch", self.else_branch.clone())
            .with("then_branch", self.then_branch.clone())
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        Ok(If {
            else_branch: attrs.need("else_branch")?,
            then_branch: attrs.need("then_branch")?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let condition = inputs.req(0)?;
        let late = || Error::DataDependent { op: "If" };
        let all = |facts: Vec<Option<Fact>>| facts.into_iter().collect::<Option<Vec<Fact>>>();
        if let Some([value]) = condition.ints().as_deref() {
            return all(self.facts(*value != 0, inputs)?).ok_or_else(late);
        }
        let [no, yes] = [self.facts(false, inputs)?, self.facts(true, inputs)?];
        if no.len() != yes.len() {
            let what = format!("the branches have {} and {} outputs", no.len(), yes.len());
            return Err(inputs.error(what));
        }
        let (Some(no), Some(yes)) = (all(no), all(yes)) else {
            return Err(late());
        };
        let mut out = vec![];
        for (a, b) in no.iter().zip(&yes) {
            if a.dtype != b.dtype {
                let what = format!("the branches make {} and {}", a.dtype, b.dtype);
                return Err(inputs.error(what));
            }
            if a.shape != b.shape {
                return Err(late());
            }
            out.push(any_value(a));
        }
        Ok(out)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        drive(
            Box::new(self.walk(inputs)?),
            &Meter::new(RunLimits::default()),
        )
    }

    fn place(&self, _: &Placing<'_>) -> Place {
        Place::host("control flow")
    }

    /// A constant condition is what [`crate::passes::inline_constant_if`] is for.
    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let x = || samples::uniform(&[2, 6], 1);
        let yes = |v: bool| HostTensor::scalar(v);
        let of = |reshapes| branches(reshapes).expect("branches that fit");
        let (same, other) = (of(false), of(true));
        let case = |name: &str, op: &If, condition: HostTensor| {
            Case::new(name, op.clone(), vec![condition, x(), x()])
        };
        vec![
            case("true", &same, yes(true)),
            case("false", &same, yes(false)),
            case("shapes differ, true", &other, yes(true)),
            case("shapes differ, false", &other, yes(false)),
            case("constant condition", &other, yes(true)).constant(&[0]),
        ]
    }
}

/// Flattens from axis 1 or, in the other branch, joins with itself and perhaps reshapes.
fn branches(reshapes: bool) -> Result<If> {
    let input = |graph: &mut Graph| graph.input("x", Some(Fact::sized(DType::F32, &[2, 6])));
    let mut no = Graph::new();
    let x = input(&mut no)?;
    let y = no.add1(super::Flatten { axis: 1 }, &[x])?;
    no.output("y", y);
    let mut yes = Graph::new();
    let x = input(&mut yes)?;
    let mut y = yes.add1(super::Identity, &[x])?;
    if reshapes {
        y = yes.add1(super::Concat { axis: 0 }, &[y, x])?;
    }
    yes.output("y", y);
    Ok(If {
        else_branch: Arc::new(no),
        then_branch: Arc::new(yes),
    })
}
