//! How this project measures: candidates in alternation, medians with their spread, tensors for kernels without a graph,
//! and reports that name the machine. The programs in `src/bin` and `tilewright bench` are made of it.
#![forbid(unsafe_code)]

mod measure;
mod report;
mod tensors;

pub use measure::{
    Candidate, Entrant, Pace, Sample, Samples, alternate, clocked, in_turns, processors, repeats,
};
pub use report::{commit, judge, load_average, machine, timer_quantum};
pub use tensors::Tensors;
