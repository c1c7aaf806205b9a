//! Graphs, operators, passes, planning and sessions.
//!
//! [`Graph`] is built node by node; [`op::Operator`] is what a node does; [`Fact`] is what is known of a value.
#![warn(clippy::unwrap_used)]
#![forbid(unsafe_code)]

pub mod attrs;
pub mod bind;
mod blocks;
mod cells;
mod compiled;
mod control;
mod convert;
pub mod coverage;
pub mod derived;
mod dim;
mod display;
mod distinct;
mod engine;
mod error;
pub mod fact;
mod graph;
mod half;
pub mod host;
mod io;
mod limits;
pub mod lower;
pub mod memory;
mod memory_stats;
mod model;
pub mod op;
pub mod ops;
pub mod passes;
mod place;
pub mod plan;
mod point;
mod record;
pub mod samples;
pub mod selftest;
mod session;
pub mod stage;
mod state;
pub mod tune;
mod values;
mod weight;

pub use attrs::{Attr, Attrs};
pub use blocks::{Along, Blocks};
pub use coverage::{Coverage, LateNode, coverage};
pub use dim::{Bindings, Dim, Symbol};
pub use error::{Error, Result};
pub use fact::Fact;
pub use graph::{Graph, Node, Value};
pub use io::{DeviceTensor, Feed, IoBinding};
pub use memory_stats::MemoryStats;
pub use model::{Fallback, Model, ModelOptions, RunLimits, SelfTest};
pub use op::{Case, CustomOp, Operand, Operator};
pub use ops::Op;
pub use session::{Dispatched, HostStep, NodeTime, Session};
pub use state::State;
pub use tilewright_device::ThreadSafe;
pub use weight::{KEPT_BYTES, Weight, WeightSource};
