//! The tests of the workspace as one program that runs away from the sources: `./x bundle` packs it with `run.sh`.
#![forbid(unsafe_code)]
