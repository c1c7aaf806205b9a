//! The tests that need an adapter or the conformance suite, and those of the command line, as one program that runs away from the sources: `./x bundle` packs it with `run.sh`.
#![forbid(unsafe_code)]
