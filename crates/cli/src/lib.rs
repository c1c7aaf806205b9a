//! tilewright-cli
