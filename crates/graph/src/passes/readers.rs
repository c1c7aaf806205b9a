//! Who reads a value: what nobody else sees may become a part of its reader.

use crate::{Graph, Value};
use std::collections::{HashMap, HashSet};

/// The live readers of every value, each once.
pub(super) struct Readers {
    nodes: HashMap<Value, Vec<u32>>,
    /// Outputs, and what states become: read from outside.
    kept: HashSet<Value>,
}

impl Readers {
    pub(super) fn new(graph: &Graph) -> Readers {
        let live = graph.live();
        let mut nodes = graph.users();
        for list in nodes.values_mut() {
            list.retain(|&i| live[i as usize]);
            list.dedup();
        }
        let outputs = graph.outputs().iter().map(|(_, v)| *v);
        let states = graph.states().iter().filter_map(|s| s.next);
        Readers {
            nodes,
            kept: outputs.chain(states).collect(),
        }
    }

    /// True if nothing but nodes of this kind reads the value, and it is no output and no state.
    pub(super) fn all(&self, v: Value, among: impl Fn(u32) -> bool) -> bool {
        let nodes = self.nodes.get(&v).map_or(&[][..], Vec::as_slice);
        !self.kept.contains(&v) && nodes.iter().all(|&i| among(i))
    }

    /// True if one node reads the value, and it is no output and no state.
    pub(super) fn single(&self, v: Value) -> bool {
        let once = self.nodes.get(&v).is_some_and(|nodes| nodes.len() == 1);
        once && !self.kept.contains(&v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Binary, Unary};
    use crate::{Fact, samples};
    use tilewright_tensor::DType;

    #[test]
    fn outputs_states_and_other_nodes_are_readers() {
        let mut g = Graph::new();
        let x = g.input("x", Some(Fact::sized(DType::F32, &[2]))).unwrap();
        let one = |g: &mut Graph, name: &str, v| g.add1(Unary::new(name).unwrap(), &[v]).unwrap();
        let square = |g: &mut Graph, v| g.add1(Binary::new("Mul").unwrap(), &[v, v]).unwrap();
        let (output, state) = (one(&mut g, "Exp", x), one(&mut g, "Neg", x));
        let (twice, once) = (one(&mut g, "Sin", x), one(&mut g, "Cos", x));
        let s = g.state("s", samples::uniform(&[2], 1)).unwrap();
        g.set_next(s, state).unwrap();
        g.output("output", output);
        for v in [output, state, once] {
            let y = square(&mut g, v);
            g.output("y", y);
        }
        for name in ["Abs", "Relu"] {
            let y = one(&mut g, name, twice);
            g.output("y", y);
        }
        // Nobody reads this one.
        one(&mut g, "Tanh", once);
        let readers = Readers::new(&g);
        let single = [output, state, twice, once, s].map(|v| readers.single(v));
        assert_eq!(single, [false, false, false, true, false]);
        assert!(!readers.all(output, |_| true) && !readers.all(state, |_| true));
        assert!(readers.all(twice, |_| true) && !readers.all(twice, |_| false));
    }
}
