//! Kernels: which shader, specialised how, with which parameters and workgroups.
//!
//! Every kernel is a pure function from [`Caps`](tilewright_device::Caps) and [`View`]s to
//! [`Dispatch`](tilewright_device::Dispatch)es; nothing here touches a GPU, and nothing here knows
//! of nodes or graphs. A kernel that needs scratch takes it as a view and publishes its size; one
//! with packed weights publishes a pack function that runs on the host.
#![forbid(unsafe_code)]

mod error;
mod view;

pub use error::{Error, Result};
pub use view::{Store, View};
