//! Where the nodes of a model would run on an adapter, told without one and without a run.

use crate::fact::Facts;
use crate::lower::{Place, place};
use crate::passes::{self, Known};
use crate::session::late_reason;
use crate::stage::Schedule;
use crate::{Fact, Graph, HostStep, Node, Op, Result, RunLimits};
use std::sync::Arc;
use tilewright_device::Caps;

/// Where the nodes of a model run, those of all bodies of control flow included, whether a run comes to them or not. A node
/// in a body is called after the nodes around it: `loop / branch / node`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How many nodes run on the device.
    pub device: usize,
    /// The nodes that run on the host.
    pub host: Vec<HostStep>,
    /// The nodes that are placed in a run, when their shapes are known.
    pub late: Vec<LateNode>,
}

/// A node whose shapes come from a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateNode {
    /// Node name in the model.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Where the types of its inputs put it; none where they come from a run too.
    pub place: Option<Place>,
}

/// The coverage of a graph as it was read, after the passes for an adapter of these capabilities. Bodies are taken as they
/// are in the first iteration.
///
/// # Errors
/// Those of passes and inference.
pub fn coverage(graph: &Graph, caps: &Caps, limits: &RunLimits) -> Result<Coverage> {
    let mut found = Coverage::default();
    found.add(graph, caps, limits, "")?;
    Ok(found)
}

impl Coverage {
    fn add(&mut self, graph: &Graph, caps: &Caps, limits: &RunLimits, path: &str) -> Result<()> {
        let graph = passes::device(&passes::weights(graph, limits.memory)?, caps)?;
        let schedule = Schedule::new(&graph, Some(caps))?;
        let computed = schedule.late.as_ref().map_or(&[][..], |l| &l.compute);
        let live = graph.live();
        for (i, node) in graph.nodes().iter().enumerate().filter(|(i, _)| live[*i]) {
            let facts = graph.facts(&node.inputs);
            let name = format!("{path}{}", node.name);
            let late = node.outputs.iter().any(Option::is_none);
            match &schedule.places[i] {
                Some(Place::Host(reason)) => self.host(&name, node, reason),
                Some(_) => self.device += 1,
                None if computed.contains(&(i as u32)) => {
                    self.host(&name, node, late_reason(&node.op));
                }
                None if late && !matches!(node.op, Op::Input(_)) => {
                    let known = node.inputs.iter().zip(&facts);
                    let known = known.into_iter().all(|(v, f)| v.is_none() || f.is_some());
                    self.late.push(LateNode {
                        node: name.clone(),
                        op: node.op.name().to_owned(),
                        place: known.then(|| place(&node.op, &facts, &[], caps)),
                    });
                }
                None => {}
            }
            for body in bodies(&node.op, &facts)? {
                self.add(&body, caps, limits, &format!("{name} / "))?;
            }
        }
        Ok(())
    }

    fn host(&mut self, name: &str, node: &Node, reason: &str) {
        self.host.push(HostStep {
            node: name.to_owned(),
            op: node.op.name().to_owned(),
            reason: reason.to_owned(),
        });
    }
}

/// The bodies of a control flow node, for its inputs where these are known and fit, else as they were declared.
fn bodies(op: &Op, facts: &[Option<&Fact>]) -> Result<Vec<Graph>> {
    let inputs = Facts::new(op.name(), facts);
    let taken: Vec<(&Arc<Graph>, Result<Vec<Fact>>)> = match op {
        Op::If(op) => [false, true]
            .map(|condition| {
                let (body, range) = op.branch(condition);
                (body, range.map(|i| inputs.req(i).cloned()).collect())
            })
            .into(),
        Op::Loop(op) => vec![(&op.body, op.facts(inputs))],
        Op::Scan(op) => vec![(&op.body, op.facts(inputs))],
        _ => vec![],
    };
    let fitted = |(body, facts): (&Arc<Graph>, Result<Vec<Fact>>)| {
        let known = facts.map(|facts| {
            let inputs = body.inputs().iter().zip(facts);
            inputs.map(|((_, v), f)| (*v, Known::Fact(f))).collect()
        });
        let fitted = known.and_then(|known| passes::specialise(body, &known));
        fitted.unwrap_or_else(|_| Graph::clone(body))
    };
    Ok(taken.into_iter().map(fitted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attrs, Value, samples};
    use tilewright_tensor::{DType, HostTensor};

    fn node(g: &mut Graph, attrs: &Attrs, name: &str, inputs: &[Value]) -> Value {
        let op = Op::from_name(attrs.op(), attrs).unwrap();
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        g.add_node(op, &inputs, name, 1).unwrap()[0]
    }

    /// A body of one node, that reads `x` as f64 where `wide`.
    fn branch(wide: bool, name: &str) -> Arc<Graph> {
        let mut g = Graph::new();
        let x = g.input("x", None).unwrap();
        let to = if wide { 11i64 } else { 1 };
        let x = node(&mut g, &Attrs::new("Cast").with("to", to), "cast", &[x]);
        let y = node(&mut g, &Attrs::new("Exp"), name, &[x]);
        let y = node(&mut g, &Attrs::new("Cast").with("to", 1i64), "back", &[y]);
        g.output("y", y);
        Arc::new(g)
    }

    fn listed(found: &Coverage) -> Vec<(&str, &str, &str)> {
        let steps = found.host.iter();
        steps.map(|s| (&*s.node, &*s.op, &*s.reason)).collect()
    }

    #[test]
    fn branches_that_no_run_takes_are_listed() {
        let mut g = Graph::new();
        let fact = Fact::sized(DType::F32, &[2]);
        let (c, x) = (
            g.input("c", Some(Fact::sized(DType::Bool, &[]))).unwrap(),
            g.input("x", Some(fact)).unwrap(),
        );
        let attrs = Attrs::new("If")
            .with("else_branch", branch(false, "narrow"))
            .with("then_branch", branch(true, "wide"));
        let y = node(&mut g, &attrs, "choice", &[c, x, x]);
        g.output("y", y);
        let found = coverage(&g, &Caps::webgpu_default(), &RunLimits::default()).unwrap();
        let steps = listed(&found);
        assert_eq!(steps[0], ("choice", "If", "control flow"));
        let wide = steps.iter().find(|s| s.0 == "choice / wide").unwrap();
        assert!(wide.2.contains("f64"), "{wide:?}");
        assert!(!steps.iter().any(|s| s.0.contains("narrow")), "{steps:?}");
        assert!(found.device > 0 && found.late.is_empty(), "{found:?}");
    }

    #[test]
    fn late_nodes_are_listed_with_what_is_known() {
        let mut g = Graph::new();
        let x = g.input("x", Some(Fact::sized(DType::F32, &[6]))).unwrap();
        let wide = g.input("d", Some(Fact::sized(DType::F64, &[6]))).unwrap();
        let shape = g.input("s", Some(Fact::sized(DType::I64, &[2]))).unwrap();
        let tiled = node(&mut g, &Attrs::new("Tile"), "tile", &[x, shape]);
        let expanded = node(&mut g, &Attrs::new("Expand"), "near", &[x, shape]);
        let far = node(&mut g, &Attrs::new("Exp"), "far", &[expanded]);
        let f64 = node(&mut g, &Attrs::new("Expand"), "f64", &[wide, shape]);
        let at = node(&mut g, &Attrs::new("NonZero"), "where", &[x]);
        for v in [tiled, far, f64, at] {
            g.output(&v.to_string(), v);
        }
        let found = coverage(&g, &Caps::webgpu_default(), &RunLimits::default()).unwrap();
        let why = "output shapes depend on the data";
        assert_eq!(listed(&found), [("where", "NonZero", why)]);
        let of = |name: &str| {
            let late = found.late.iter().find(|l| l.node == name);
            late.unwrap_or_else(|| panic!("{found:?}")).place.clone()
        };
        assert_eq!(of("near"), Some(Place::Device));
        assert_eq!(of("far"), None);
        assert!(matches!(of("f64"), Some(Place::Host(why)) if why.contains("f64")));
    }

    #[test]
    fn bodies_of_loops_are_listed_without_an_iteration() {
        let mut body = Graph::new();
        body.input("i", Some(Fact::sized(DType::I64, &[]))).unwrap();
        let go = body
            .input("go", Some(Fact::sized(DType::Bool, &[])))
            .unwrap();
        let s = body.input("s", None).unwrap();
        let next = node(&mut body, &Attrs::new("Det"), "det", &[s]);
        let next = node(&mut body, &Attrs::new("Add"), "sum", &[s, next]);
        body.output("go", go);
        body.output("s", next);
        let mut g = Graph::new();
        let x = g
            .input("x", Some(Fact::sized(DType::F32, &[2, 2])))
            .unwrap();
        let none = g.constant(HostTensor::scalar(0i64));
        let yes = g.constant(samples::of(&[], &[true]));
        let attrs = Attrs::new("Loop").with("body", Arc::new(body));
        let y = node(&mut g, &attrs, "loop", &[none, yes, x]);
        g.output("y", y);
        let found = coverage(&g, &Caps::webgpu_default(), &RunLimits::default()).unwrap();
        let names: Vec<&str> = found.host.iter().map(|s| &*s.node).collect();
        assert_eq!(names, ["loop", "loop / det"]);
    }
}
