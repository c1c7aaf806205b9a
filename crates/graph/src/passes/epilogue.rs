//! Fusion of pointwise operators to the products before them: bias, activation and residual become the epilogue.

use super::fuse::{Group, Groups};
use super::rewrite;
use crate::lower::{Place, is_stored, place};
use crate::ops::Fused;
use crate::point::Program;
use crate::{Fact, Graph, Node, Result, Value};
use std::collections::HashMap;
use tilewright_device::Caps;

/// Operands of an epilogue besides the product.
const MOST_OPERANDS: usize = 4;

/// Makes a pointwise node that is the only reader of a product on the device the product's epilogue. To be run after
/// [`super::fuse()`], which makes one node of several.
pub fn epilogues(graph: &Graph, caps: &Caps) -> Result<Graph> {
    let groups = Groups::new(graph, caps);
    let live = graph.live();
    let mut found: HashMap<u32, (Value, Group)> = HashMap::new();
    for node in (0..graph.len() as u32).filter(|&i| live[i as usize]) {
        if let Some(group) = groups.alone(node)
            && let Some(product) = product(&groups, node, &group)
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

/// The product that can take this node as epilogue: the latest, where there are several.
fn product(groups: &Groups<'_>, node: u32, group: &Group) -> Option<Value> {
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
        product.op.fuses()
            && groups.only_reader(**v, node)
            && fact.shape == result.shape
            && float(fact)
            && float(result)
            && room
            && !twice
            && others.count() <= MOST_OPERANDS
            && on_device(graph, product, groups.caps)
    };
    group
        .inputs
        .iter()
        .filter(fits)
        .max_by_key(|v| v.node)
        .copied()
}

fn on_device(graph: &Graph, node: &Node, caps: &Caps) -> bool {
    let outputs: Vec<Fact> = node.outputs.iter().flatten().cloned().collect();
    let facts = graph.facts(&node.inputs);
    outputs.len() == 1 && place(&node.op, &facts, &outputs, caps) == Place::Device
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
    use crate::ops::{Binary, Gemm, MatMul, Unary};
    use crate::samples;
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
