//! The engines: rten, and ONNX Runtime with the checks that come before its library is loaded.

pub(crate) mod library;
pub(crate) mod onnxruntime;
pub(crate) mod rten;
