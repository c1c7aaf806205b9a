//! tilewright-examples
