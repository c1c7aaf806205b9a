//! The conformance suite's models: what stays on the host, the memory of plans, inferred facts, and one session at many
//! sizes. `TILEWRIGHT_SUITE` names the unpacked suite; `./x test conformance` sets it and runs these tests in release.

mod inference;
mod models;
mod plans;
mod sizes;
