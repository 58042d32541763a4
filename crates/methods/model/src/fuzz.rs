//! The door for fuzzers.

use crate::{
    external::NoExternalData,
    graph::Graph,
    limits::Limits,
    session::{EngineChoice, Session},
};

/// Fuzz entry: must not panic. What is read must be written and read again, and rten must take or refuse it.
pub fn fuzz_onnx(data: &[u8]) {
    let limits = Limits {
        max_model_bytes: 1 << 20,
        max_weight_bytes: 1 << 20,
        max_nodes: 2_000,
        max_values: 2_000,
        max_depth: 3,
        max_lowered_elements: 1 << 16,
    };
    let Ok(graph) = Graph::from_onnx(data, &NoExternalData, &limits) else {
        return;
    };
    if let Ok(bytes) = graph.to_onnx() {
        // Lowering may have made more nodes and weights than the bounds on foreign files allow.
        let again = Graph::from_onnx(&bytes, &NoExternalData, &Limits::default());
        assert!(again.is_ok(), "written and not read: {again:?}");
    }
    // Whether it loads does not matter; a panic inside the engine is caught by the session.
    drop(Session::load_owned(graph, &EngineChoice::Rten, 1));
}
