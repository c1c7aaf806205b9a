//! States: named tensors that stay on the device from run to run. A graph reads a state and may give it its next value,
//! which takes effect when the run is done: optimiser moments, running statistics, counters, key-value caches.

use crate::ops;
use crate::{Error, Fact, Graph, Result, Value};
use std::sync::Arc;
use tilewright_tensor::HostTensor;

/// One state of a graph.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name, by which a session reads and sets it.
    pub name: Arc<str>,
    /// Its value before the first run.
    pub initial: HostTensor,
    /// The value that nodes read.
    pub read: Value,
    /// The value it takes after a run; none if it stays.
    pub next: Option<Value>,
}

impl Graph {
    /// Adds a state; the value that nodes read.
    pub fn state(&mut self, name: &str, initial: HostTensor) -> Result<Value> {
        if self.states.iter().any(|s| &*s.name == name) {
            return Err(Error::Graph(format!("state `{name}` is declared twice")));
        }
        let fact = Fact::sized(initial.dtype(), initial.shape());
        let op = ops::State { name: name.into() };
        let read = self.source(op.into(), Some(fact), name);
        let name = name.into();
        self.states.push(State {
            name,
            initial,
            read,
            next: None,
        });
        Ok(read)
    }

    /// Says what the state behind `read` becomes after a run: a value of the same type and shape.
    pub fn set_next(&mut self, read: Value, next: Value) -> Result<()> {
        let (now, then) = (self.need_fact(read)?.clone(), self.need_fact(next)?.clone());
        let state = self.states.iter_mut().find(|s| s.read == read);
        let state = state.ok_or_else(|| Error::Graph(format!("{read} is no state")))?;
        if (now.dtype, &now.shape) != (then.dtype, &then.shape) {
            let what = format!("state `{}` is {now} and cannot become {then}", state.name);
            return Err(Error::Graph(what));
        }
        state.next = Some(next);
        Ok(())
    }

    /// The states, in the order they were added.
    pub fn states(&self) -> &[State] {
        &self.states
    }
}
