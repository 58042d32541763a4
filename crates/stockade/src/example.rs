//! The example that `stockade up` serves: a classifier of the UCI handwritten digits, embedded.

/// The name under which it is sealed and served.
pub(crate) const NAME: &str = "digits";

/// The model. Input `pixels`: FP32 [n, 64], 0 to 16. `examples/digits` says how it was trained.
pub(crate) const MODEL: &[u8] = include_bytes!("../../../examples/digits/digits.onnx");

/// A request for one image, ready to be sent.
pub(crate) const REQUEST: &[u8] = include_bytes!("../../../examples/digits/request.json");
