//! An ONNX graph: read, lower, write and run it.
