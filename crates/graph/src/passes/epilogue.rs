//! Fusion of pointwise operators to what is before them: bias, activation and residual become the epilogue of a product, or
//! the ending of a reduction or a normalisation.

use super::fuse::{Group, Groups};
use super::rewrite;
use crate::lower::{Place, is_stored, place};
use crate::ops::Fused;
use crate::point::Program;
use crate::{Dim, Fact, Graph, Node, Result, Value};
use std::collections::{HashMap, HashSet};
use tilewright_device::{AdapterKind, Caps};

/// Operands of an epilogue besides the product.
const MOST_OPERANDS: usize = 4;

/// Makes a pointwise node that is the only reader of a product on the device the product's epilogue. To be run after
/// [`super::fuse()`], which makes one node of several.
pub fn epilogues(graph: &Graph, caps: &Caps) -> Result<Graph> {
    let groups = Groups::new(graph, caps);
    let (live, read) = (graph.live(), graph.read());
    let mut found: HashMap<u32, (Value, Group)> = HashMap::new();
    for node in (0..graph.len() as u32).filter(|&i| live[i as usize]) {
        if let Some(group) = groups.alone(node)
            && let Some(product) = product(&groups, &read, node, &group)
        {
            found.insert(node, (product, group));
        }
    }
    let fused = rewrite(graph, |visit, new| {
        let Some((product, group)) = found.get(&visit.index) else {
            return Ok(None);
        };
        let node = visit.old.node(*product);
        let others = group.inputs.iter().filter(|v| *v != product);
        let old = node.inputs.iter().copied().chain(others.map(|v| Some(*v)));
        let mut inputs = vec![];
        for v in old {
            match v.map(|v| visit.made.get(&v).copied()) {
                Some(None) => return Ok(None),
                v => inputs.push(v.flatten()),
            }
        }
        let program = product_first(group, *product);
        let op = Fused::new(node.op.clone(), node.inputs.len(), program);
        let name = if node.name.is_empty() {
            &visit.node.name
        } else {
            &node.name
        };
        new.add_node(op.into(), &inputs, name, 1).map(Some)
    })?;
    // The products themselves.
    rewrite(&fused, |_, _| Ok(None))
}

/// The product that can take this node as epilogue. Where there are several, the one with the larger weight, else the latest: the
/// shortcut of a residual block is then stored as it is, and the blocks of a network have their last convolutions alike, with one
/// shader for all of them.
fn product(groups: &Groups<'_>, read: &HashSet<Value>, node: u32, group: &Group) -> Option<Value> {
    let result = groups.fact(node)?;
    let fits = |v: &&Value| {
        let (graph, product) = (groups.graph, groups.graph.node(**v));
        let Some(fact) = graph.fact(**v) else {
            return false;
        };
        let others = group.inputs.iter().filter(|o| o != v);
        let own = product.inputs.iter().flatten().count();
        // Nothing is bound twice, and the output has a binding too.
        let room = own + group.inputs.len() <= groups.caps.limits.storage_buffers as usize;
        let twice = others.clone().any(|o| product.inputs.contains(&Some(*o)));
        let float = |f: &Fact| is_stored(f.dtype) && f.dtype.is_float();
        let ends = fact.dtype == result.dtype && ends(groups, product, fact);
        (product.op.fuses() || ends)
            && groups.only_reader(**v, node)
            && fact.shape == result.shape
            && float(fact)
            && float(result)
            && room
            && !twice
            && others.count() <= MOST_OPERANDS
            && alone(product, **v, read)
            && on_device(graph, product, groups.caps)
    };
    let weight = |v: &Value| {
        let w = groups.graph.node(*v).inputs.get(1).copied().flatten();
        let w = w.and_then(|w| groups.graph.fact(w)?.elements().known());
        w.unwrap_or(0)
    };
    let all = group.inputs.iter().filter(fits);
    all.max_by_key(|v| (weight(v), v.node)).copied()
}

/// Whether a node with such a result takes an ending that pays. Where elements are stored one by one, each pays for the four that
/// the function computes. A reduction stores few: there it saves a dispatch, which costs a software adapter less.
fn ends(groups: &Groups<'_>, node: &Node, fact: &Fact) -> bool {
    let four = |n: &Dim| n.modulo(&4i64.into()).known() == Some(0);
    let input = node.inputs.first().copied().flatten();
    let same = |v| (groups.graph.fact(v)).is_some_and(|x| x.shape == fact.shape);
    let pays = match input.is_some_and(same) {
        true => fact.shape.last().is_some_and(four),
        false => groups.caps.kind != AdapterKind::Software,
    };
    node.op.ends() && pays
}

/// True for output 0 of a node, if nobody reads another.
fn alone(node: &Node, v: Value, read: &HashSet<Value>) -> bool {
    let mut others = (1..node.outputs.len() as u32).map(|output| Value { output, ..v });
    v.output == 0 && !others.any(|v| read.contains(&v))
}

fn on_device(graph: &Graph, node: &Node, caps: &Caps) -> bool {
    let outputs: Vec<Fact> = node.outputs.iter().flatten().cloned().collect();
    let facts = graph.facts(&node.inputs);
    place(&node.op, &facts, &outputs, caps) == Place::Device
}

/// The program with the product as its first input.
fn product_first(group: &Group, product: Value) -> Program {
    let from = &group.program;
    let at = group.inputs.iter().position(|v| *v == product).unwrap_or(0);
    let mut order: Vec<usize> = (0..from.inputs.len()).filter(|&i| i != at).collect();
    order.insert(0, at);
    let mut program = Program::new(order.iter().map(|&i| from.inputs[i]).collect());
    let place = |i: usize| order.iter().position(|&o| o == i).unwrap_or(0);
    let inputs: Vec<usize> = (0..order.len()).map(place).collect();
    program.append(from, &inputs);
    program
}

#[cfg(test)]
mod tests {
    use super::super::fuse;
    use super::*;
    use crate::Op;
    use crate::ops::{Binary, Gemm, LayerNormalization, MatMul, Softmax, SoftmaxKind, Unary};
    use crate::{Attrs, samples};
    use tilewright_tensor::{DType, HostTensor};

    fn after(graph: &Graph, inputs: &[HostTensor]) -> Vec<(String, String)> {
        let caps = Caps::webgpu_default();
        let after = epilogues(&fuse(graph, &caps).unwrap(), &caps).unwrap();
        assert_eq!(
            crate::host::run(&after, inputs).unwrap(),
            crate::host::run(graph, inputs).unwrap()
        );
        let nodes = after
            .nodes()
            .iter()
            .filter(|n| !matches!(n.op, Op::Input(_) | Op::Constant(_)));
        let code = |n: &Node| {
            n.op.attrs()
                .opt::<String>("code")
                .unwrap()
                .unwrap_or_default()
        };
        nodes.map(|n| (n.op.name().to_string(), code(n))).collect()
    }

    fn input(graph: &mut Graph, name: &str, shape: &[usize]) -> Value {
        graph
            .input(name, Some(Fact::sized(DType::F32, shape)))
            .unwrap()
    }

    #[test]
    fn bias_activation_and_residual_go_into_the_product() {
        let mut graph = Graph::new();
        let x = input(&mut graph, "x", &[2, 5, 8]);
        let r = input(&mut graph, "r", &[2, 5, 8]);
        let w = graph.constant(samples::uniform(&[8, 8], 1));
        let b = graph.constant(samples::uniform(&[8], 2));
        let y = graph.add1(MatMul, &[x, w]).unwrap();
        let y = graph.add1(Binary::new("Add").unwrap(), &[b, y]).unwrap();
        let y = graph.add1(Unary::new("Gelu").unwrap(), &[y]).unwrap();
        let y = graph.add1(Binary::new("Add").unwrap(), &[r, y]).unwrap();
        graph.output("y", y);
        let inputs = [
            samples::uniform(&[2, 5, 8], 3),
            samples::uniform(&[2, 5, 8], 4),
        ];
        assert_eq!(
            after(&graph, &inputs),
            [(
                "Fused".into(),
                "Add f32 %1 %0; Gelu(0.0) f32 %3; Add f32 %2 %4".into()
            )]
        );
    }

    #[test]
    fn reductions_and_normalisations_take_what_keeps_their_type() {
        let mut graph = Graph::new();
        let x = input(&mut graph, "x", &[5, 8]);
        let r = input(&mut graph, "r", &[5, 8]);
        let scale = graph.constant(samples::uniform(&[8], 1));
        let norm = LayerNormalization::default();
        let y = graph.add1(norm, &[x, scale]).unwrap();
        let y = graph.add1(Binary::new("Add").unwrap(), &[y, r]).unwrap();
        let y = graph
            .add1(
                Softmax {
                    axis: 1,
                    ..softmax()
                },
                &[y],
            )
            .unwrap();
        let to = Attrs::new("Cast").with("to", DType::F16);
        let cast = Op::from_name("Cast", &to).unwrap();
        let half = graph.add1(cast, &[y]).unwrap();
        let mean = Op::from_name("ReduceMean", &Attrs::new("ReduceMean")).unwrap();
        let mean = graph.add1(mean, &[r]).unwrap();
        let mean = graph.add1(Unary::new("Sqrt").unwrap(), &[mean]).unwrap();
        graph.output("half", half);
        graph.output("mean", mean);
        let inputs = [
            samples::uniform(&[5, 8], 3),
            samples::between(&[5, 8], 4, 1.0, 2.0),
        ];
        let names = after(&graph, &inputs);
        let expected = [
            ("Fused", "Add f32 %0 %1"),
            ("Softmax", ""),
            ("Cast", ""),
            ("Fused", "Sqrt f32 %0"),
        ];
        assert_eq!(names, expected.map(|(a, b)| (a.to_string(), b.to_string())));
    }

    fn softmax() -> Softmax {
        Softmax {
            kind: SoftmaxKind::Softmax,
            axis: -1,
        }
    }

    #[test]
    fn a_product_that_others_read_stays() {
        let mut graph = Graph::new();
        let (a, b) = (
            input(&mut graph, "a", &[4, 4]),
            input(&mut graph, "b", &[4, 4]),
        );
        let y = graph.add1(Gemm::default(), &[a, b]).unwrap();
        let z = graph.add1(Unary::new("Relu").unwrap(), &[y]).unwrap();
        graph.output("y", y);
        graph.output("z", z);
        let names: Vec<_> = after(
            &graph,
            &[samples::uniform(&[4, 4], 1), samples::uniform(&[4, 4], 2)],
        );
        assert_eq!(
            names.iter().map(|n| &n.0[..]).collect::<Vec<_>>(),
            ["Gemm", "Relu"]
        );
    }

    #[test]
    fn an_operand_is_not_bound_twice() {
        let mut graph = Graph::new();
        let (a, b) = (
            input(&mut graph, "a", &[4, 4]),
            input(&mut graph, "b", &[4, 4]),
        );
        let y = graph.add1(MatMul, &[a, b]).unwrap();
        let z = graph.add1(Binary::new("Add").unwrap(), &[y, a]).unwrap();
        graph.output("z", z);
        let names: Vec<_> = after(
            &graph,
            &[samples::uniform(&[4, 4], 1), samples::uniform(&[4, 4], 2)],
        );
        assert_eq!(
            names.iter().map(|n| &n.0[..]).collect::<Vec<_>>(),
            ["MatMul", "Add"]
        );
    }

    #[test]
    fn the_product_with_the_larger_weight_takes_the_sum() {
        let inputs = [[5, 8], [5, 2], [5, 4]].map(|s| samples::uniform(&s, 1));
        // In either order of the nodes; the latest where weights are alike.
        for (k, taken) in [([8, 2], 0), ([2, 8], 1), ([4, 4], 1)] {
            let mut graph = Graph::new();
            let products = k.map(|k| {
                let name = format!("x{}", graph.len());
                let x = input(&mut graph, &name, &[5, k]);
                let w = graph.constant(samples::uniform(&[k, 4], k as u64));
                graph.add1(MatMul, &[x, w]).unwrap()
            });
            let z = graph.add1(Binary::new("Add").unwrap(), &products).unwrap();
            graph.output("z", z);
            let caps = Caps::webgpu_default();
            let new = epilogues(&fuse(&graph, &caps).unwrap(), &caps).unwrap();
            let fused = new.nodes().iter().find(|n| n.op.name() == "Fused").unwrap();
            let of = |v: Value| new.need_fact(v).unwrap().shape[1].known();
            assert_eq!(of(fused.inputs[0].unwrap()), Some(k[taken] as i64), "{new}");
            let fed: Vec<HostTensor> = k
                .iter()
                .map(|k| {
                    let at = inputs.iter().position(|x| x.shape()[1] == *k).unwrap();
                    inputs[at].clone()
                })
                .collect();
            let run = |g: &Graph| crate::host::run(g, &fed).unwrap();
            assert_eq!(run(&new), run(&graph));
        }
    }

    #[test]
    fn one_of_two_products_takes_the_rest() {
        let mut graph = Graph::new();
        let (a, b) = (
            input(&mut graph, "a", &[4, 6]),
            input(&mut graph, "b", &[6, 4]),
        );
        let y = graph.add1(MatMul, &[a, b]).unwrap();
        let z = graph.add1(MatMul, &[y, y]).unwrap();
        let z = graph.add1(Unary::new("Relu").unwrap(), &[z]).unwrap();
        let c = input(&mut graph, "c", &[4, 6]);
        let d = input(&mut graph, "d", &[6, 4]);
        let w = graph.add1(MatMul, &[c, d]).unwrap();
        let z = graph.add1(Binary::new("Add").unwrap(), &[z, w]).unwrap();
        graph.output("z", z);
        let inputs = [[4, 6], [6, 4], [4, 6], [6, 4]].map(|s| samples::uniform(&s, 1));
        let names: Vec<_> = after(&graph, &inputs);
        assert_eq!(
            names.iter().map(|n| &n.0[..]).collect::<Vec<_>>(),
            ["MatMul", "MatMul", "Fused"]
        );
        assert_eq!(names[2].1, "Relu f32 %1; Add f32 %2 %0");
    }
}
