//! Graphs as text.

use crate::{Graph, Op, Value};
use std::fmt;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.output == 0 {
            write!(f, "%{}", self.node)
        } else {
            write!(f, "%{}.{}", self.node, self.output)
        }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes().iter().enumerate() {
            write!(f, "%{i} = {}", node.op.name())?;
            if !matches!(node.op, Op::Constant(_)) {
                let attrs = node.op.attrs().to_string();
                let inputs: Vec<_> = node
                    .inputs
                    .iter()
                    .map(|v| v.map_or("_".into(), |v| v.to_string()))
                    .collect();
                write!(f, "({})", inputs.join(", "))?;
                if !attrs.is_empty() {
                    write!(f, " {{{attrs}}}")?;
                }
            }
            let facts: Vec<_> = node
                .outputs
                .iter()
                .map(|o| o.as_ref().map_or("?".into(), |fact| fact.to_string()))
                .collect();
            write!(f, " : {}", facts.join(", "))?;
            if !node.name.is_empty() {
                write!(f, "  `{}`", node.name)?;
            }
            writeln!(f)?;
        }
        for (name, v) in self.outputs() {
            writeln!(f, "output `{name}` = {v}")?;
        }
        for state in self.states() {
            if let Some(next) = state.next {
                writeln!(f, "state `{}` = {next}", state.name)?;
            }
        }
        Ok(())
    }
}
