//! What the tests share: adapters as plain data, naga's opinion of a dispatch, and a device.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of this module, and `expect` fails in one that uses all"
)]

pub(crate) mod attention;
pub(crate) mod conv;
pub(crate) mod gpu;
mod shader;

pub(crate) use shader::check;
