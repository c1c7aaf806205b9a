//! tilewright-onnx
