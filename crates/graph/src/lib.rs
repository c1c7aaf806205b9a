//! Graphs, operators, passes, planning and sessions.
#![forbid(unsafe_code)]

pub mod dim;
