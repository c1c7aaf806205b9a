//! tilewright-tensor
