//! Fusion of pointwise operators: a tree of them that only its root's users see becomes one [`Map`].

use super::readers::Readers;
use super::rewrite;
use crate::ops::Map;
use crate::point::{Func, Num, Pointwise, Program, Span};
use crate::{Fact, Graph, Op, Result, Value};
use std::collections::{HashMap, HashSet};
use tilewright_device::Caps;
use tilewright_kernels::map_inputs;
use tilewright_tensor::{DType, HostTensor};

/// Operands of a fused node: with the default limits of 8 storage buffers a product keeps two for its own.
const MOST_INPUTS: usize = 6;
/// Nodes in a fused node: registers are few, and compilers slow on long functions.
const MOST_NODES: usize = 24;

/// Fuses pointwise nodes that run on the device. What is fused computes the same.
pub fn fuse(graph: &Graph, caps: &Caps) -> Result<Graph> {
    let groups = Groups::new(graph, caps).find();
    let fused = rewrite(graph, |visit, new| {
        let Some(group) = groups.get(&visit.index) else {
            return Ok(None);
        };
        let inputs: Vec<_> = group
            .inputs
            .iter()
            .map(|v| visit.made.get(v).copied())
            .collect();
        if inputs.contains(&None) {
            return Ok(None);
        }
        let map = Map::new(group.program.clone());
        new.add_node(map.into(), &inputs, &visit.node.name, 1)
            .map(Some)
    })?;
    // The nodes inside of groups.
    rewrite(&fused, |_, _| Ok(None))
}

/// A fused node.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) program: Program,
    /// Values of the old graph.
    pub(super) inputs: Vec<Value>,
}

/// What nodes that become one are made of.
#[derive(Default)]
struct Parts {
    /// What they read from outside.
    inputs: Vec<Value>,
    /// What of it is a constant of one element.
    scalars: Vec<(Value, Num)>,
    /// The program of each node, and the values that it is run on.
    programs: Vec<(Program, Vec<Value>)>,
}

pub(super) struct Groups<'a> {
    pub(super) graph: &'a Graph,
    pub(super) caps: &'a Caps,
    readers: Readers,
    taken: HashSet<u32>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(graph: &'a Graph, caps: &'a Caps) -> Groups<'a> {
        Groups {
            graph,
            caps,
            readers: Readers::new(graph),
            taken: HashSet::new(),
        }
    }

    /// The groups by their roots. Roots are found from the end, so that each is as large as can be.
    fn find(mut self) -> HashMap<u32, Group> {
        let mut groups = HashMap::new();
        let live = self.graph.live();
        for root in (0..self.graph.len() as u32).rev() {
            if !live[root as usize] || self.taken.contains(&root) || !self.fusible(root) {
                continue;
            }
            let (members, group) = self.grow(root);
            if let Some(group) = group {
                self.taken.extend(members);
                groups.insert(root, group);
            }
        }
        groups
    }

    /// A pointwise node by itself.
    pub(super) fn alone(&self, node: u32) -> Option<Group> {
        self.fusible(node)
            .then(|| self.group(node, &[node]))
            .flatten()
    }

    /// True if nothing but this node reads the value.
    pub(super) fn only_reader(&self, v: Value, node: u32) -> bool {
        self.readers.all(v, |reader| reader == node)
    }

    /// A pointwise node of known shape whose result is not a symbolic size.
    fn fusible(&self, node: u32) -> bool {
        let node = &self.graph.nodes()[node as usize];
        let known = |v: &Option<Value>| {
            v.is_none_or(|v| self.graph.fact(v).is_some_and(|f| !f.is_symbolic()))
        };
        let plain = |f: &Option<Fact>| f.as_ref().is_some_and(|f| !f.is_symbolic());
        pointwise(&node.op).is_some()
            && node.inputs.iter().all(known)
            && node.outputs.iter().all(plain)
    }

    /// The nodes that go together with `root`, and what they make, if it is worth anything.
    fn grow(&self, root: u32) -> (Vec<u32>, Option<Group>) {
        let mut members = vec![root];
        let mut best = self.group(root, &members);
        let mut refused = HashSet::new();
        while let Some(next) = self.candidate(root, &members, &refused) {
            let mut more = members.clone();
            more.push(next);
            match self.group(root, &more) {
                Some(group) if more.len() <= MOST_NODES => {
                    members = more;
                    best = Some(group);
                }
                _ => {
                    refused.insert(next);
                }
            }
        }
        // Alone a node is worth rewriting if constants went into it.
        let inputs = self.graph.nodes()[root as usize]
            .inputs
            .iter()
            .flatten()
            .count();
        let worth = |g: &Group| members.len() > 1 || g.inputs.len() < inputs;
        let best = best.filter(worth);
        (members, best)
    }

    /// A producer of an operand that nobody else reads and that has the root's shape.
    fn candidate(&self, root: u32, members: &[u32], refused: &HashSet<u32>) -> Option<u32> {
        let shape = &self.fact(root)?.shape;
        let operands = members
            .iter()
            .flat_map(|&m| self.graph.nodes()[m as usize].inputs.iter().flatten());
        operands.map(|v| (v, v.node)).find_map(|(v, node)| {
            let free =
                !members.contains(&node) && !refused.contains(&node) && !self.taken.contains(&node);
            let private = || self.readers.all(*v, |reader| members.contains(&reader));
            let fits = || self.fusible(node) && self.fact(node).is_some_and(|f| f.shape == *shape);
            (free && private() && fits()).then_some(node)
        })
    }

    pub(super) fn fact(&self, node: u32) -> Option<&Fact> {
        self.graph.fact(Value { node, output: 0 })
    }

    /// The program of these nodes; none if it cannot run on the device as one.
    fn group(&self, root: u32, members: &[u32]) -> Option<Group> {
        let mut order = members.to_vec();
        order.sort_unstable();
        let shape = &self.fact(root)?.shape;
        let Parts {
            inputs,
            scalars,
            programs,
        } = self.parts(&order, shape.len())?;
        let whole = |v: &Value| self.graph.fact(*v).is_some_and(|f| f.shape == *shape);
        if inputs.len() > MOST_INPUTS.min(map_inputs(self.caps))
            || !(inputs.iter().any(whole) || self.covers(&inputs, shape))
        {
            return None;
        }
        let types = inputs.iter().map(|v| Some(self.graph.fact(*v)?.dtype));
        let mut program = Program::new(types.collect::<Option<Vec<DType>>>()?);
        let mut at: HashMap<Value, usize> = inputs.iter().copied().zip(0..).collect();
        for (v, num) in scalars {
            let dtype = self.graph.fact(v)?.dtype;
            at.insert(v, program.push(Func::Const(num), &[], dtype));
        }
        let result = |node: u32| Value { node, output: 0 };
        for (&index, (part, operands)) in order.iter().zip(&programs) {
            let args: Option<Vec<usize>> = operands.iter().map(|v| at.get(v).copied()).collect();
            at.insert(result(index), program.append(part, &args?));
        }
        // The last value is the result; an identity at the end has none of its own.
        let is_last = at.get(&result(root)) == Some(&program.last());
        let spans: Vec<Option<Span>> = inputs.iter().map(|v| self.span(*v)).collect();
        let runs = is_last && program.device_gap(&spans).is_none() && shape.len() <= 8;
        runs.then_some(Group { program, inputs })
    }

    /// The programs of nodes and what they read from outside of them, in order of appearance. Scalars of up to `rank`
    /// axes become constants of the program.
    fn parts(&self, order: &[u32], rank: usize) -> Option<Parts> {
        let mut parts = Parts::default();
        for &member in order {
            let node = &self.graph.nodes()[member as usize];
            let types = node.inputs.iter();
            let types = types.map(|v| v.and_then(|v| self.graph.fact(v)).map(|f| f.dtype));
            let (program, operands) = pointwise(&node.op)?
                .program(&types.collect::<Vec<_>>())
                .ok()?;
            let operands: Option<Vec<Value>> = operands.iter().map(|&i| node.inputs[i]).collect();
            let operands = operands?;
            for v in &operands {
                let seen = parts.inputs.contains(v) || parts.scalars.iter().any(|(s, _)| s == v);
                if seen || order.contains(&v.node) {
                    continue;
                }
                let fact = self.graph.fact(*v)?;
                let constant = fact.constant().filter(|_| fact.rank() <= rank);
                match constant.and_then(scalar) {
                    Some(num) => parts.scalars.push((*v, num)),
                    None => parts.inputs.push(*v),
                }
            }
            parts.programs.push((program, operands));
        }
        Some(parts)
    }

    /// True if the inputs broadcast to the shape by themselves, so that no axis came from a constant.
    fn covers(&self, inputs: &[Value], shape: &[crate::Dim]) -> bool {
        let shapes: Option<Vec<&[crate::Dim]>> = inputs
            .iter()
            .map(|v| self.graph.fact(*v).map(|f| &f.shape[..]))
            .collect();
        shapes.is_some_and(|s| crate::fact::broadcast("Map", &s).is_ok_and(|b| b == shape))
    }

    fn span(&self, v: Value) -> Option<Span> {
        let (low, high) = self.graph.fact(v)?.range()?;
        Some((low.into(), high.into()))
    }
}

/// The operator as a program.
fn pointwise(op: &Op) -> Option<&dyn Pointwise> {
    match op {
        Op::Unary(op) => Some(op),
        Op::Binary(op) => Some(op),
        Op::Variadic(op) => Some(op),
        Op::Where(op) => Some(op),
        Op::Clip(op) => Some(op),
        Op::Cast(op) => Some(op),
        Op::BitCast(op) => Some(op),
        Op::Map(op) => Some(op),
        _ => None,
    }
}

/// The value of a tensor of one element.
fn scalar(tensor: &HostTensor) -> Option<Num> {
    if tensor.len() != 1 {
        return None;
    }
    if tensor.dtype().is_float() {
        tensor.to_f64().first().map(|v| Num::F(*v))
    } else {
        tensor.to_i64().ok()?.first().map(|v| Num::I((*v).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Binary, Clip, MatMul, Unary};
    use crate::{Dim, samples};

    struct Build(Graph);

    impl Build {
        fn input(&mut self, name: &str, shape: &[usize]) -> Value {
            self.0
                .input(name, Some(Fact::sized(DType::F32, shape)))
                .unwrap()
        }

        fn one(&mut self, name: &str, x: Value) -> Value {
            self.0.add1(Unary::new(name).unwrap(), &[x]).unwrap()
        }

        fn two(&mut self, name: &str, x: Value, y: Value) -> Value {
            self.0.add1(Binary::new(name).unwrap(), &[x, y]).unwrap()
        }

        fn number(&mut self, v: f64) -> Value {
            self.0.scalar(DType::F32, v).unwrap()
        }
    }

    /// The texts of the maps of a fused graph, and the names of its other operators. Checks that the results are the same.
    fn fused(graph: &Graph, inputs: &[HostTensor]) -> (Vec<String>, Vec<String>) {
        let after = fuse(graph, &Caps::webgpu_default()).unwrap();
        assert_eq!(
            crate::host::run(&after, inputs).unwrap(),
            crate::host::run(graph, inputs).unwrap()
        );
        let (mut maps, mut others) = (vec![], vec![]);
        for node in after.nodes() {
            match &node.op {
                Op::Map(_) => maps.push(node.op.attrs().need::<String>("code").unwrap()),
                Op::Input(_) | Op::Constant(_) => {}
                op => others.push(op.name().to_string()),
            }
        }
        (maps, others)
    }

    #[test]
    fn a_diamond_becomes_one_map() {
        let mut b = Build(Graph::new());
        let (x, bias) = (b.input("x", &[2, 5]), b.input("b", &[5]));
        let sum = b.two("Add", x, bias);
        let gate = b.one("Sigmoid", sum);
        let y = b.two("Mul", sum, gate);
        b.0.output("y", y);
        let (maps, others) = fused(
            &b.0,
            &[samples::uniform(&[2, 5], 1), samples::uniform(&[5], 2)],
        );
        assert_eq!(maps, ["Add f32 %0 %1; Sigmoid f32 %2; Mul f32 %2 %3"]);
        assert!(others.is_empty());
    }

    #[test]
    fn scalars_become_constants_of_the_program() {
        let mut b = Build(Graph::new());
        let x = b.input("x", &[3, 4]);
        let (low, high, two) = (b.number(0.0), b.number(6.0), b.number(2.0));
        let clipped = b.0.add1(Clip, &[x, low, high]).unwrap();
        let y = b.two("Pow", clipped, two);
        b.0.output("y", y);
        let (maps, _) = fused(&b.0, &[samples::between(&[3, 4], 1, -9.0, 9.0)]);
        assert_eq!(
            maps,
            [
                "const(0.0) f32; const(6.0) f32; const(2.0) f32; Max f32 %0 %1; Min f32 %4 %2; Pow f32 %5 %3"
            ]
        );
    }

    #[test]
    fn what_others_see_stays() {
        let mut b = Build(Graph::new());
        let x = b.input("x", &[4]);
        let a = b.one("Exp", x);
        let y = b.one("Neg", a);
        let z = b.one("Tanh", y);
        b.0.output("a", a);
        b.0.output("z", z);
        let (maps, others) = fused(&b.0, &[samples::uniform(&[4], 1)]);
        assert_eq!(maps, ["Neg f32 %0; Tanh f32 %1"]);
        assert_eq!(others, ["Exp"]);
    }

    #[test]
    fn smaller_operands_are_made_once() {
        let mut b = Build(Graph::new());
        let (x, v) = (b.input("x", &[64, 5]), b.input("v", &[5]));
        let e = b.one("Exp", v);
        let y = b.two("Mul", x, e);
        let y = b.one("Relu", y);
        b.0.output("y", y);
        let (maps, others) = fused(
            &b.0,
            &[samples::uniform(&[64, 5], 1), samples::uniform(&[5], 2)],
        );
        assert_eq!(maps, ["Mul f32 %0 %1; Relu f32 %2"]);
        assert_eq!(others, ["Exp"]);
    }

    #[test]
    fn operands_are_few() {
        let mut b = Build(Graph::new());
        let first = b.input("x0", &[3]);
        let sum = (1..10).fold(first, |sum, i| {
            let x = b.input(&format!("x{i}"), &[3]);
            b.two("Add", sum, x)
        });
        b.0.output("y", sum);
        let inputs: Vec<_> = (0..10).map(|i| samples::uniform(&[3], i)).collect();
        let (maps, _) = fused(&b.0, &inputs);
        assert_eq!(maps.len(), 2);
        assert!(maps.iter().all(|m| m.matches("Add").count() <= 5));
    }

    #[test]
    fn other_operators_separate() {
        let mut b = Build(Graph::new());
        let (x, w) = (b.input("x", &[4, 4]), b.input("w", &[4, 4]));
        let a = b.one("Exp", x);
        let a = b.one("Neg", a);
        let a = b.0.add1(MatMul, &[a, w]).unwrap();
        let a = b.one("Relu", a);
        b.0.output("y", a);
        let (maps, others) = fused(
            &b.0,
            &[samples::uniform(&[4, 4], 1), samples::uniform(&[4, 4], 2)],
        );
        assert_eq!(maps, ["Exp f32 %0; Neg f32 %1"]);
        assert_eq!(others, ["MatMul", "Relu"]);
    }

    #[test]
    fn symbolic_sizes_fuse_where_they_are_equal() {
        let mut graph = Graph::new();
        let shape = [Dim::symbol("n"), 8i64.into()];
        let x = graph
            .input("x", Some(Fact::new(DType::F32, shape)))
            .unwrap();
        let a = graph.add1(Unary::new("Exp").unwrap(), &[x]).unwrap();
        let a = graph.add1(Unary::new("Neg").unwrap(), &[a]).unwrap();
        graph.output("y", a);
        let (maps, _) = fused(&graph, &[samples::uniform(&[5, 8], 1)]);
        assert_eq!(maps, ["Exp f32 %0; Neg f32 %1"]);
    }

    #[test]
    fn what_the_device_cannot_do_stays() {
        let mut graph = Graph::new();
        let x = graph
            .input("x", Some(Fact::sized(DType::F64, &[4])))
            .unwrap();
        let a = graph.add1(Unary::new("Exp").unwrap(), &[x]).unwrap();
        let a = graph.add1(Unary::new("Neg").unwrap(), &[a]).unwrap();
        graph.output("y", a);
        let x = HostTensor::from_f64(DType::F64, [4], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(fused(&graph, &[x]).1, ["Exp", "Neg"]);
    }
}
