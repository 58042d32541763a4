//! Bounds on what a model file may hold.
//!
//! A model comes from a stranger until it is sealed. Each bound is checked before the memory it guards is taken.

/// Bounds on what [`Graph::from_onnx`](crate::Graph::from_onnx) accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of the ONNX file itself; protobuf allows no more than 2 GiB.
    pub max_model_bytes: usize,
    /// Bytes of all weights, inside the file and outside.
    pub max_weight_bytes: u64,
    /// Nodes, those of subgraphs and those made by lowering included.
    pub max_nodes: usize,
    /// Weights, inputs and outputs, those of subgraphs included.
    pub max_values: usize,
    /// Nesting of subgraphs.
    pub max_depth: usize,
    /// Elements of the tensors that lowering one tree ensemble or linear model makes.
    pub max_lowered_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_model_bytes: (1 << 31) - 1,
            max_weight_bytes: 64 << 30,
            max_nodes: 200_000,
            max_values: 400_000,
            max_depth: 8,
            max_lowered_elements: 1 << 28,
        }
    }
}
