//! tilewright-kernels
