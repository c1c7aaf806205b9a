//! tilewright-benches
