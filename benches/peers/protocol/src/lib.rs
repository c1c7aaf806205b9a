//! What every peer shares: the work that can be asked for, the data it runs on, and the loop that answers.
//!
//! A peer's `main` names itself in a [`Hello`] and gives [`serve`] a function that turns [`Work`] into [`Prepared`].
//! The protocol is written down in the README beside this workspace.

mod data;
mod serve;
mod work;

pub use data::{floats, integers};
pub use serve::{Hello, Prepared, serve};
pub use work::{Attention, Conv, Dtype, Gemm, Map, MapOp, Model, Work};

/// Why a request was not done, in words for a reader.
pub type Why = String;
