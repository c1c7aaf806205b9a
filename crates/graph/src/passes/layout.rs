//! Channels last: convolutions that run on the device take and give tensors with their channels innermost.
//!
//! A converted node is followed by a transpose back, and what it gave is remembered as the *twin* of that transpose. An
//! operator that works the same in either order takes the twins of its inputs and gets a twin itself; so transposes
//! stay only where a tensor is needed channels first. The others are dead and vanish with the next pass.

mod followers;

use super::{Visit, rewrite};
use crate::lower::{Place, place};
use crate::ops::{Interleave, Layout, Reshape, Transpose, padded};
use crate::{Dim, Fact, Graph, Op, Result, Value};
use std::collections::HashMap;
use tilewright_device::Caps;

/// Converts what can be converted. Converting again changes nothing.
pub fn layout(graph: &Graph, caps: &Caps) -> Result<Graph> {
    let mut pass = Pass {
        caps,
        twins: HashMap::new(),
    };
    rewrite(graph, |visit, new| pass.visit(visit, new))
}

struct Pass<'a> {
    caps: &'a Caps,
    /// Channels-first values of the new graph and the same tensors channels last.
    twins: HashMap<Value, Value>,
}

impl Pass<'_> {
    fn visit(&mut self, visit: &Visit<'_>, new: &mut Graph) -> Result<Option<Vec<Value>>> {
        let Some(Some(x)) = visit.inputs.first().copied() else {
            return Ok(None);
        };
        // A transpose back needs the rank of the result, which a late node does not know.
        if visit.node.outputs.iter().any(Option::is_none) {
            return Ok(None);
        }
        match converted(&visit.node.op) {
            Some(op) if self.is_anchor(visit, &op) => {
                if let Some((image, filter)) = self.padded(visit, new, &op, x)? {
                    let rest = [&[Some(filter)], &visit.inputs[2..]].concat();
                    return self.add(visit, new, op, image, &rest);
                }
                let Some(last) = self.last(new, x)? else {
                    return Ok(None);
                };
                self.add(visit, new, op, last, &visit.inputs[1..])
            }
            // A pool is not worth two transposes, but follows where the work has been done.
            Some(op) if is_pool(&op) && self.twins.contains_key(&x) => {
                let last = self.twins[&x];
                self.add(visit, new, op, last, &visit.inputs[1..])
            }
            _ => self.follow(visit, new, x),
        }
    }

    /// True for a convolution that runs on the device in its new layout.
    fn is_anchor(&self, visit: &Visit<'_>, op: &Op) -> bool {
        let facts = visit.old.facts(&visit.node.inputs);
        let outputs: Vec<Fact> = visit.node.outputs.iter().flatten().cloned().collect();
        let known = outputs.len() == visit.node.outputs.len() && !is_pool(op);
        // Types, ranks and constants decide; they are the same in both layouts.
        known && place(op, &facts, &outputs, self.caps) == Place::Device
    }

    /// An image that has to be turned anyway, and its filter, with zeros for channels that make them a multiple of four: those can
    /// be loaded as vectors. For three channels of four, or seven of eight, whatever the padding costs is gained.
    fn padded(
        &self,
        visit: &Visit<'_>,
        new: &mut Graph,
        op: &Op,
        x: Value,
    ) -> Result<Option<(Value, Value)>> {
        let turned = matches!(new.node(x).op, Op::Transpose(_) | Op::Reshape(_));
        let channels = new.fact(x).and_then(|x| x.shape.get(1)?.known());
        let (Op::Conv(conv), Some(channels), false) = (op, channels, turned) else {
            return Ok(None);
        };
        if conv.group != 1 || channels % 4 != 3 || channels > 15 || self.twins.contains_key(&x) {
            return Ok(None);
        }
        let filter = match visit.inputs.get(1) {
            Some(Some(w)) => new.constant_of(*w)?,
            _ => None,
        };
        let Some(filter) = filter else {
            return Ok(None);
        };
        let channels = channels + 1;
        let filter = padded(&filter, 1, channels as usize)?;
        let filter = new.constant(filter);
        let image = new.add1(Interleave { channels }, &[x])?;
        Ok(Some((image, filter)))
    }

    /// Adds a node that reads `x` channels last, and the transposes back of all its outputs.
    fn add(
        &mut self,
        visit: &Visit<'_>,
        new: &mut Graph,
        op: Op,
        x: Value,
        rest: &[Option<Value>],
    ) -> Result<Option<Vec<Value>>> {
        let inputs = [&[Some(x)], rest].concat();
        self.add_all(visit, new, op, &inputs)
    }

    fn add_all(
        &mut self,
        visit: &Visit<'_>,
        new: &mut Graph,
        op: Op,
        inputs: &[Option<Value>],
    ) -> Result<Option<Vec<Value>>> {
        let count = visit.node.outputs.len();
        let outputs = new.add_node(op, inputs, &visit.node.name, count)?;
        let mut back = vec![];
        for last in outputs {
            back.push(self.first(new, last)?);
        }
        Ok(Some(back))
    }

    /// The channels-first form of a tensor; the pair is remembered.
    fn first(&mut self, new: &mut Graph, last: Value) -> Result<Value> {
        let rank = new.need_fact(last)?.rank();
        let axes: Vec<usize> = (0..rank).collect();
        let first = turned(new, last, &Layout::ChannelsLast.to_first(&axes))?;
        self.twins.insert(first, last);
        Ok(first)
    }

    /// The channels-last form of a tensor: its twin, or a transpose of it. None if its rank is unknown or too small.
    fn last(&mut self, new: &mut Graph, first: Value) -> Result<Option<Value>> {
        if let Some(&last) = self.twins.get(&first) {
            return Ok(Some(last));
        }
        let Some(rank) = new.fact(first).map(Fact::rank).filter(|&r| r > 2) else {
            return Ok(None);
        };
        let axes: Vec<usize> = (0..rank).collect();
        let last = turned(new, first, &Layout::ChannelsLast.from_first(&axes))?;
        self.twins.insert(first, last);
        Ok(Some(last))
    }
}

/// True if a node runs on the device, once its channels are last where that matters.
pub(super) fn runs(graph: &Graph, op: &Op, inputs: &[Option<Value>], caps: &Caps) -> Result<bool> {
    let facts = graph.facts(inputs);
    let outputs = match op.infer(&facts) {
        Ok(outputs) => outputs,
        Err(e) if e.is_late() => return Ok(false),
        Err(e) => return Err(e),
    };
    let op = converted(op).unwrap_or_else(|| op.clone());
    Ok(place(&op, &facts, &outputs, caps) == Place::Device)
}

/// The operator on channels-last tensors, if it has such a form and is not in it.
fn converted(op: &Op) -> Option<Op> {
    let mut op = op.clone();
    let layout = match &mut op {
        Op::Conv(op) => &mut op.layout,
        Op::ConvInteger(op) => &mut op.conv.layout,
        Op::ConvTranspose(op) => &mut op.layout,
        Op::QLinearConv(op) => &mut op.conv.layout,
        Op::AveragePool(op) => &mut op.layout,
        Op::LpPool(op) => &mut op.layout,
        Op::MaxPool(op) => &mut op.layout,
        _ => return None,
    };
    let first = *layout == Layout::ChannelsFirst;
    *layout = Layout::ChannelsLast;
    first.then_some(op)
}

fn is_pool(op: &Op) -> bool {
    matches!(op, Op::AveragePool(_) | Op::LpPool(_) | Op::MaxPool(_))
}

/// `value` with axis `order[i]` at `i`: by a reshape where only axes of size 1 change places.
fn turned(new: &mut Graph, value: Value, order: &[usize]) -> Result<Value> {
    let shape = new.need_fact(value)?.shape.clone();
    let still = order.iter().filter(|&&a| shape[a].known() != Some(1));
    let sizes: Vec<Dim> = order.iter().map(|&a| shape[a].clone()).collect();
    if still.is_sorted()
        && let Some(sizes) = plain(&sizes)
    {
        let sizes = new.ints(&sizes)?;
        return new.add1(Reshape { allow_zero: false }, &[value, sizes]);
    }
    let perm = order.iter().map(|&a| a as i64).collect();
    new.add1(Transpose { perm: Some(perm) }, &[value])
}

/// Sizes as a reshape takes them: an unknown first one is copied from the input, one more is inferred.
fn plain(sizes: &[Dim]) -> Option<Vec<i64>> {
    let (first, rest) = sizes.split_first()?;
    let mut out = vec![first.known().unwrap_or(0)];
    out.extend(rest.iter().map(|d| d.known().unwrap_or(-1)));
    let inferred = out.iter().filter(|&&n| n == -1).count();
    // A size that is 0 would be copied, and -1 cannot be told among none.
    let zero = out[1..].contains(&0);
    (inferred <= 1 && !zero).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Concat, Conv, GlobalPool, MaxPool, Pool, Resize, Unary, Window};
    use crate::{Attrs, Bindings, Symbol, samples};
    use tilewright_tensor::{DType, HostTensor};

    fn conv(graph: &mut Graph, x: Value, channels: [usize; 2], size: usize) -> Value {
        let w = samples::uniform(&[channels[1], channels[0], size, size], 7);
        let w = graph.constant(w);
        let pad = (size / 2) as i64;
        let op = Conv {
            group: 1,
            window: Window {
                pads: vec![pad; 4],
                ..Window::default()
            },
            ..Conv::default()
        };
        graph.add1(op, &[x, w]).unwrap()
    }

    fn count(graph: &Graph, name: &str) -> usize {
        let live = graph.live();
        let nodes = graph.nodes().iter().zip(live);
        nodes
            .filter(|(n, live)| *live && n.op.name() == name)
            .count()
    }

    fn passed(graph: &Graph) -> Graph {
        let once = layout(graph, &Caps::webgpu_default()).unwrap();
        let twice = layout(&once, &Caps::webgpu_default()).unwrap();
        for name in ["Conv", "Interleave", "Transpose", "Reshape"] {
            assert_eq!(count(&once, name), count(&twice, name), "{once}\n{twice}");
        }
        let mut bindings = Bindings::default();
        bindings.set(Symbol::new("n"), 2);
        for (a, b) in graph.outputs().iter().zip(once.outputs()) {
            let shape = |g: &Graph, v| g.need_fact(v).unwrap().bind(&bindings).unwrap();
            assert_eq!(shape(graph, a.1), shape(&once, b.1));
        }
        let fed: Vec<HostTensor> = (graph.inputs().iter().zip(3..))
            .map(|((_, v), seed)| {
                let fact = graph.need_fact(*v).unwrap();
                let x = samples::uniform(&fact.bind(&bindings).unwrap(), seed);
                x.cast(fact.dtype).unwrap()
            })
            .collect();
        let run = |g: &Graph| crate::host::run(g, &fed).unwrap();
        assert_eq!(run(graph), run(&once), "{once}");
        once
    }

    fn image(graph: &mut Graph, channels: i64) -> Value {
        let n = Dim::symbol("n");
        // No two extents are equal, so that one axis is never taken for another.
        let shape = vec![n, channels.into(), 6i64.into(), 10i64.into()];
        let fact = Fact::new(DType::F32, shape);
        graph.input("x", Some(fact)).unwrap()
    }

    #[test]
    fn a_residual_network_is_transposed_at_its_ends_only() {
        let mut graph = Graph::new();
        let x = image(&mut graph, 3);
        let a = conv(&mut graph, x, [3, 8], 3);
        let scale = graph.constant(samples::uniform(&[8, 1, 1], 1));
        let a = graph
            .add1(crate::ops::Binary::new("Mul").unwrap(), &[a, scale])
            .unwrap();
        let a = graph.add1(Unary::new("Relu").unwrap(), &[a]).unwrap();
        let pool = MaxPool {
            window: Window::of(&[2, 2]),
            ..MaxPool::default()
        };
        let a = graph.add1(pool, &[a]).unwrap();
        let b = conv(&mut graph, a, [8, 8], 3);
        let sum = graph
            .add1(crate::ops::Binary::new("Add").unwrap(), &[a, b])
            .unwrap();
        let both = graph.add1(Concat { axis: 1 }, &[sum, a]).unwrap();
        let scales = graph.constant(samples::of(&[4], &[1f32, 1., 2., 3.]));
        let inputs = [Some(both), None, Some(scales)];
        let big = graph
            .add_node(Resize::default().into(), &inputs, "", 1)
            .unwrap()[0];
        graph.output("big", big);
        let pooled = GlobalPool {
            kind: Pool::Average,
        };
        let pooled = graph.add1(pooled, &[both]).unwrap();
        let flat = graph
            .add1(crate::ops::Flatten { axis: 1 }, &[pooled])
            .unwrap();
        graph.output("flat", flat);
        let new = passed(&graph);
        // One in, with a channel of zeros; one out for `big`; the pooled tensor is reshaped.
        assert_eq!(count(&new, "Interleave"), 1, "{new}");
        assert_eq!(count(&new, "Transpose"), 1, "{new}");
    }

    #[test]
    fn images_are_padded_where_their_filter_is_known_and_it_costs_little() {
        let padded = |graph: &Graph| count(&passed(graph), "Interleave");
        for (channels, expected) in [(1, 0), (2, 0), (3, 1), (4, 0), (5, 0), (7, 1), (19, 0)] {
            let mut graph = Graph::new();
            let x = image(&mut graph, channels as i64);
            for _ in 0..2 {
                let y = conv(&mut graph, x, [channels, 8], 3);
                graph.output(&format!("y{}", graph.len()), y);
            }
            assert_eq!(padded(&graph), expected, "{channels}");
        }
        // Groups, a filter from outside, and an image that has been turned for somebody else.
        let mut graph = Graph::new();
        let x = image(&mut graph, 3);
        let w = graph.constant(samples::uniform(&[3, 1, 3, 3], 1));
        let op = Conv {
            group: 3,
            ..Conv::default()
        };
        let y = graph.add1(op, &[x, w]).unwrap();
        graph.output("y", y);
        let z = conv(&mut graph, x, [3, 8], 3);
        graph.output("z", z);
        let fact = Some(Fact::sized(DType::F32, &[4, 3, 3, 3]));
        let w = graph.input("w", fact).unwrap();
        let op = Conv {
            group: 1,
            ..Conv::default()
        };
        let v = graph.add1(op, &[x, w]).unwrap();
        graph.output("v", v);
        assert_eq!(padded(&graph), 0);
    }

    /// Every operator that is given other axes, behind a convolution.
    #[test]
    fn followers_keep_their_axes() {
        let mut graph = Graph::new();
        let x = image(&mut graph, 3);
        let a = conv(&mut graph, x, [3, 8], 3);
        let mut follow = |op: Op, rest: &[Option<HostTensor>], outputs: usize| {
            let rest = rest.iter().cloned();
            let rest = rest.map(|t| t.map(|t| graph.constant(t)));
            let inputs: Vec<Option<Value>> = std::iter::once(Some(a)).chain(rest).collect();
            for y in graph.add_node(op, &inputs, "", outputs).unwrap() {
                let name = format!("y{}", graph.outputs().len());
                graph.output(&name, y);
            }
        };
        let ints = |v: &[i64]| Some(samples::ints(v));
        let floats = |v: &[f32]| Some(samples::of(&[v.len()], v));
        let named = |attrs: Attrs| Op::from_name(attrs.op(), &attrs).unwrap();
        for axis in 0..4i64 {
            follow(named(Attrs::new("Softmax").with("axis", axis)), &[], 1);
        }
        for (axis, sizes) in [(1, [3, 5]), (2, [2, 4]), (3, [1, 9])] {
            follow(
                named(Attrs::new("Split").with("axis", axis)),
                &[ints(&sizes)],
                2,
            );
        }
        let plain = |name: &str| named(Attrs::new(name));
        let pads = [0, 1, 2, 3, 4, 5, 6, 7];
        follow(plain("Pad"), &[ints(&pads)], 1);
        follow(plain("Pad"), &[ints(&[1, 2, 3, 4]), None, ints(&[3, 1])], 1);
        follow(plain("Slice"), &[ints(&[1, 2]), ints(&[2, 7])], 1);
        let [from, to, axes, steps] = [[1, 0], [6, 9], [1, -1], [2, 3]].map(|v| ints(&v));
        follow(plain("Slice"), &[from, to, axes, steps], 1);
        follow(plain("Resize"), &[None, floats(&[1., 2., 3., 1.5])], 1);
        let resize = Attrs::new("Resize").with("axes", vec![3i64, 1]);
        follow(named(resize), &[None, None, ints(&[4, 16])], 1);
        for (axes, keep) in [
            (&[1][..], true),
            (&[2], true),
            (&[0, 3], true),
            (&[2, 3], false),
        ] {
            let attrs = Attrs::new("ReduceMax").with("keepdims", keep);
            follow(named(attrs), &[ints(axes)], 1);
        }
        let scales: Vec<f32> = (1..9).map(|i| i as f32 / 64.0).collect();
        let quantise = Attrs::new("QuantizeLinear").with("axis", 1i64);
        follow(named(quantise), &[floats(&scales)], 1);
        follow(
            named(Attrs::new("Transpose").with("perm", vec![3i64, 1, 0, 2])),
            &[],
            1,
        );
        follow(plain("Reshape"), &[ints(&[0, 8, 4, 15])], 1);
        follow(plain("GlobalMaxPool"), &[], 1);
        let new = passed(&graph);
        assert!(count(&new, "Transpose") > 0, "{new}");
    }

    #[test]
    fn what_stays_on_the_host_stays_as_it_is() {
        let mut graph = Graph::new();
        let x = graph
            .input("x", Some(Fact::sized(DType::F64, &[1, 2, 5, 5])))
            .unwrap();
        let w: HostTensor = samples::uniform(&[3, 2, 3, 3], 1).cast(DType::F64).unwrap();
        let w = graph.constant(w);
        let op = Conv {
            group: 1,
            ..Conv::default()
        };
        let y = graph.add1(op, &[x, w]).unwrap();
        graph.output("y", y);
        assert_eq!(count(&passed(&graph), "Transpose"), 0);
    }

    #[test]
    fn a_transpose_in_the_model_counts_as_ours() {
        // A block of ConvNeXt: channels last inside, then scaled channels first.
        let mut graph = Graph::new();
        let x = graph
            .input("x", Some(Fact::sized(DType::F32, &[1, 5, 5, 8])))
            .unwrap();
        let turn = |perm: &[i64]| Transpose {
            perm: Some(perm.to_vec()),
        };
        let first = graph.add1(turn(&[0, 3, 1, 2]), &[x]).unwrap();
        let scale = graph.constant(samples::uniform(&[8, 1, 1], 1));
        let scaled =
            (graph.add1(crate::ops::Binary::new("Mul").unwrap(), &[first, scale])).unwrap();
        let y = graph.add1(turn(&[0, 2, 3, 1]), &[scaled]).unwrap();
        graph.output("y", y);
        let after = crate::passes::device(&graph, &Caps::webgpu_default()).unwrap();
        let transposes = after
            .nodes()
            .iter()
            .filter(|n| matches!(n.op, Op::Transpose(_)));
        assert_eq!(transposes.count(), 0, "{after}");
        let x = samples::uniform(&[1, 5, 5, 8], 2);
        let run = |g: &Graph| crate::host::run(g, std::slice::from_ref(&x)).unwrap();
        assert_eq!(run(&after), run(&graph));
    }
}
