//! Scan: a body run once for each slice of its inputs.

use crate::control::{Pile, Turn, Walk, any_value, drive, fits, outputs_of};
use crate::fact::{Facts, Tensors, axis_index};
use crate::limits::Meter;
use crate::lower::{Place, Placing};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Graph, Result, RunLimits, samples};
use std::sync::Arc;
use tilewright_tensor::{DType, HostTensor};

/// ONNX Scan-25. Inputs: N states, M tensors to scan, and the values that the body takes from around it. Outputs: the N
/// states, then K scan outputs.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Inputs: states, slices, taken values. Outputs: states, scan elements.
    pub body: Arc<Graph>,
    /// M.
    pub scan_inputs: usize,
    /// The axis along which each input is scanned; 0 where the list ends.
    pub input_axes: Vec<i64>,
    /// 1 for each input that is scanned from its end; 0 where the list ends.
    pub input_directions: Vec<i64>,
    /// The axis along which the elements of each scan output lie; 0 where the list ends.
    pub output_axes: Vec<i64>,
    /// 1 for each scan output that grows at its front; 0 where the list ends.
    pub output_directions: Vec<i64>,
    /// How many values the body takes from around it.
    pub captures: usize,
}

fn entry(list: &[i64], i: usize) -> i64 {
    list.get(i).copied().unwrap_or(0)
}

impl Scan {
    /// Number of states.
    fn states(&self, inputs: usize) -> Result<usize> {
        let states = inputs
            .checked_sub(self.scan_inputs + self.captures)
            .ok_or_else(|| Error::op("Scan", "the body takes more values than the node has"))?;
        fits("Scan", &self.body, inputs, states)?;
        Ok(states)
    }

    /// Axis and size of each scanned input.
    fn lengths<T: Clone>(
        &self,
        states: usize,
        shape: impl Fn(usize) -> Result<Vec<T>>,
    ) -> Result<Vec<(usize, T)>> {
        let mut out = vec![];
        for i in 0..self.scan_inputs {
            let shape = shape(states + i)?;
            let axis = axis_index("Scan", entry(&self.input_axes, i), shape.len())?;
            out.push((axis, shape[axis].clone()));
        }
        Ok(out)
    }

    /// What is known of the body's inputs in every iteration.
    pub(crate) fn facts(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let states = self.states(inputs.len())?;
        let lengths = self.lengths(states, |i| Ok(inputs.req(i)?.shape.clone()))?;
        let mut facts = vec![];
        for i in 0..inputs.len() {
            let fact = inputs.req(i)?;
            facts.push(match i.checked_sub(states) {
                None => any_value(fact),
                Some(scanned) if scanned < self.scan_inputs => {
                    let mut slice = any_value(fact);
                    slice.shape.remove(lengths[scanned].0);
                    slice
                }
                Some(_) => fact.clone(),
            });
        }
        Ok(facts)
    }

    pub(crate) fn walk(
        &self,
        inputs: Tensors<'_>,
        limits: &RunLimits,
    ) -> Result<impl Walk + use<>> {
        let states = self.states(inputs.len())?;
        let lengths = self.lengths(states, |i| Ok(inputs.req(i)?.shape().to_vec()))?;
        let length = lengths.first().map_or(0, |(_, n)| *n);
        if let Some((_, other)) = lengths.iter().find(|(_, n)| *n != length) {
            return Err(inputs.error(format!("inputs of {length} and {other} slices")));
        }
        if length as u64 > limits.loop_iterations {
            return Err(Error::Limit {
                what: "Scan: the number of iterations".into(),
                limit: limits.loop_iterations,
            });
        }
        let need = |i: usize| inputs.req(i).cloned();
        let scanned = (states..states + self.scan_inputs).map(need);
        let taken = (states + self.scan_inputs..inputs.len()).map(need);
        Ok(Slices {
            op: self.clone(),
            axes: lengths.iter().map(|(axis, _)| *axis).collect(),
            scanned: scanned.collect::<Result<_>>()?,
            taken: taken.collect::<Result<_>>()?,
            piles: (states..self.body.outputs().len())
                .map(|_| Pile::default())
                .collect(),
            state: (0..states).map(need).collect::<Result<_>>()?,
            length,
            done: 0,
            used: 0,
            limits: *limits,
        })
    }
}

struct Slices {
    op: Scan,
    axes: Vec<usize>,
    scanned: Vec<HostTensor>,
    taken: Vec<HostTensor>,
    state: Vec<HostTensor>,
    piles: Vec<Pile>,
    length: usize,
    done: usize,
    used: u64,
    limits: RunLimits,
}

/// Slice `index` of a tensor along `axis`, without that axis.
fn slice(tensor: &HostTensor, axis: usize, index: usize) -> Result<HostTensor> {
    let mut shape = tensor.shape().to_vec();
    let size = shape.remove(axis);
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis..].iter().product();
    let rows = (0..outer).map(|o| (o * size + index) * inner);
    Ok(tensor.select(shape, rows.flat_map(|at| at..at + inner))?)
}

impl Slices {
    fn facts(&self) -> Vec<Fact> {
        let whole = |t: &HostTensor| Fact::sized(t.dtype(), t.shape());
        let mut facts: Vec<Fact> = self.state.iter().map(whole).collect();
        for (t, axis) in self.scanned.iter().zip(&self.axes) {
            let mut shape = t.shape().to_vec();
            shape.remove(*axis);
            facts.push(Fact::sized(t.dtype(), &shape));
        }
        facts.extend(self.taken.iter().map(whole));
        facts
    }
}

impl Walk for Slices {
    fn next(&mut self) -> Result<Option<Turn>> {
        if self.done == self.length {
            return Ok(None);
        }
        let mut inputs = self.state.clone();
        for (i, (tensor, axis)) in self.scanned.iter().zip(&self.axes).enumerate() {
            let backward = entry(&self.op.input_directions, i) != 0;
            let index = if backward {
                self.length - 1 - self.done
            } else {
                self.done
            };
            inputs.push(slice(tensor, *axis, index)?);
        }
        inputs.extend(self.taken.iter().cloned());
        Ok(Some(Turn {
            body: self.op.body.clone(),
            inputs,
        }))
    }

    fn accept(&mut self, outputs: Vec<HostTensor>) -> Result<()> {
        let mut outputs = outputs.into_iter();
        for (state, new) in self.state.iter_mut().zip(&mut outputs) {
            *state = new;
        }
        for (pile, element) in self.piles.iter_mut().zip(outputs) {
            pile.push("Scan", element, &mut self.used, &self.limits)?;
        }
        self.done += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<HostTensor>> {
        let facts = self.facts();
        let mut out = self.state;
        let states = out.len();
        for (i, pile) in self.piles.into_iter().enumerate() {
            let axis = entry(&self.op.output_axes, i);
            let prepend = entry(&self.op.output_directions, i) != 0;
            let empty = || outputs_of(&self.op.body, &facts).get(states + i)?.clone();
            out.push(pile.stack("Scan", axis, prepend, empty)?);
        }
        Ok(out)
    }
}

impl Operator for Scan {
    const NAMES: &'static [&'static str] = &["Scan"];

    fn attrs(&self) -> Attrs {
        Attrs::new("Scan")
            .with("body", self.body.clone())
            .with("num_scan_inputs", self.scan_inputs as i64)
            .with("scan_input_axes", self.input_axes.clone())
            .with("scan_input_directions", self.input_directions.clone())
            .with("scan_output_axes", self.output_axes.clone())
            .with("scan_output_directions", self.output_directions.clone())
            .with("captures", self.captures as i64)
    }

    /// `captures` is not ONNX's: the reader counts the values that it appended to the node's inputs.
    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let scan_inputs: i64 = attrs.need("num_scan_inputs")?;
        let scan_inputs = usize::try_from(scan_inputs)
            .map_err(|_| Error::op("Scan", format!("num_scan_inputs is {scan_inputs}")))?;
        Ok(Scan {
            body: attrs.need("body")?,
            scan_inputs,
            input_axes: attrs.or("scan_input_axes", vec![])?,
            input_directions: attrs.or("scan_input_directions", vec![])?,
            output_axes: attrs.or("scan_output_axes", vec![])?,
            output_directions: attrs.or("scan_output_directions", vec![])?,
            captures: super::control_captures(attrs)?,
        })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let late = || Error::DataDependent { op: "Scan" };
        let states = self.states(inputs.len())?;
        let lengths = self.lengths(states, |i| Ok(inputs.req(i)?.shape.clone()))?;
        let facts = self.facts(inputs)?;
        let outputs: Option<Vec<Fact>> = outputs_of(&self.body, &facts).into_iter().collect();
        let outputs = outputs.ok_or_else(late)?;
        let (after, elements) = outputs.split_at(states);
        let same = |(a, b): (&Fact, &Fact)| a.dtype == b.dtype && a.shape == b.shape;
        if !facts.iter().zip(after).all(same) {
            return Err(late());
        }
        let mut out: Vec<Fact> = after.iter().map(any_value).collect();
        for (i, element) in elements.iter().enumerate() {
            let axis = axis_index("Scan", entry(&self.output_axes, i), element.rank() + 1)?;
            let mut shape = element.shape.clone();
            let (_, length) = lengths
                .first()
                .ok_or_else(|| inputs.error("nothing to scan"))?;
            shape.insert(axis, length.clone());
            out.push(Fact::new(element.dtype, shape));
        }
        Ok(out)
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let limits = RunLimits::default();
        drive(Box::new(self.walk(inputs, &limits)?), &Meter::new(limits))
    }

    fn place(&self, _: &Placing<'_>) -> Place {
        Place::host("control flow")
    }

    /// As with Loop, bodies run where there are limits.
    fn folds(&self) -> bool {
        false
    }

    fn cases() -> Vec<Case> {
        let x = |shape: &[usize], seed| samples::uniform(shape, seed);
        let Ok(body) = body() else { return vec![] };
        let op = Scan {
            body: Arc::new(body),
            scan_inputs: 2,
            input_axes: vec![],
            input_directions: vec![],
            output_axes: vec![],
            output_directions: vec![],
            captures: 1,
        };
        let turned = Scan {
            input_axes: vec![1, -1],
            input_directions: vec![0, 1],
            output_axes: vec![-1],
            output_directions: vec![1],
            ..op.clone()
        };
        let backward = Scan {
            input_directions: vec![1, 0],
            ..op.clone()
        };
        let along_0 = || {
            vec![
                x(&[4, 3], 1),
                x(&[5, 2, 3], 2),
                x(&[5, 2, 3], 3),
                x(&[2, 3], 4),
            ]
        };
        let along = vec![
            x(&[4, 3], 1),
            x(&[2, 5, 3], 2),
            x(&[2, 3, 5], 3),
            x(&[2, 3], 4),
        ];
        let none = vec![
            x(&[4, 3], 1),
            x(&[0, 2, 3], 2),
            x(&[0, 2, 3], 3),
            x(&[2, 3], 4),
        ];
        vec![
            Case::new("first axis", op.clone(), along_0()),
            Case::new("backward", backward, along_0()),
            Case::new("axes and directions", turned, along),
            Case::new("no slices", op, none),
        ]
    }
}

/// State \[4, 3\]: slices a and b of \[2, 3\] become its rows; the scan output joins a with a captured value.
fn body() -> Result<Graph> {
    let mut body = Graph::new();
    let input = |body: &mut Graph, name: &str, rows: usize| {
        body.input(name, Some(Fact::sized(DType::F32, &[rows, 3])))
    };
    let _state = input(&mut body, "state", 4)?;
    let a = input(&mut body, "a", 2)?;
    let b = input(&mut body, "b", 2)?;
    let outer = input(&mut body, "outer", 2)?;
    let next = body.add1(super::Concat { axis: 0 }, &[a, b])?;
    let element = body.add1(super::Concat { axis: 1 }, &[a, outer])?;
    body.output("next", next);
    body.output("element", element);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_come_and_go_in_their_directions() {
        let mut body = Graph::new();
        let sum = body.input("x", Some(Fact::sized(DType::I64, &[]))).unwrap();
        body.output("y", sum);
        let op = Scan {
            body: Arc::new(body),
            scan_inputs: 1,
            input_axes: vec![],
            input_directions: vec![1],
            output_axes: vec![],
            output_directions: vec![],
            captures: 0,
        };
        let x = samples::ints(&[1, 2, 3]);
        let back = Operator::reference(&op, Tensors::new("Scan", &[Some(&x)])).unwrap();
        assert_eq!(back[0].to_i64().unwrap(), [3, 2, 1]);
        let op = Scan {
            output_directions: vec![1],
            ..op
        };
        let again = Operator::reference(&op, Tensors::new("Scan", &[Some(&x)])).unwrap();
        assert_eq!(again[0].to_i64().unwrap(), [1, 2, 3]);
    }
}
