//! How large a body may be, in every direction in which it can grow.

/// The bounds of one JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of the whole body.
    pub max_bytes: usize,
    /// Tensors in `inputs`, and entries in `outputs`.
    pub max_tensors: usize,
    /// Elements of all tensors together.
    pub max_elements: usize,
    /// Dimensions of one tensor; nested `data` is no deeper.
    pub max_dimensions: usize,
    /// Depth of values under keys that the protocol does not know.
    pub max_depth: usize,
    /// Keys of one object.
    pub max_keys: usize,
    /// Bytes of a key, a tensor's name, and a text parameter.
    pub max_name_bytes: usize,
    /// Bytes of `id`.
    pub max_id_bytes: usize,
    /// Bytes of one element of a `BYTES` tensor.
    pub max_element_bytes: usize,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 20,
            max_tensors: 64,
            max_elements: 4 << 20,
            max_dimensions: 16,
            max_depth: 32,
            max_keys: 64,
            max_name_bytes: 256,
            max_id_bytes: 256,
            max_element_bytes: 1 << 20,
        }
    }
}
