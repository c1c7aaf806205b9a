//! tilewright-graph
