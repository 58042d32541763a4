//! An ONNX graph: read, lower, write and run it.
//!
//! Start at [`Graph::from_onnx`], which reads foreign bytes into one normal form, and [`Session::load`], which runs a graph on one of two engines ([`EngineChoice`]):
//! rten (pure Rust, always there) or ONNX Runtime (where configuration names the library). Everything else about models is a transform from graph to graph.
//! [`mark`] is the watermark in a served model's answers.
//! Reading is bounded by [`Limits`]; a run is not, in time or in memory, so run only models whose origin is known.
//! The crate is pure: files come in through [`ExternalData`] and an engine's library by a path that the caller chose.

mod check;
mod engine;
mod error;
mod export;
mod external;
mod fuzz;
mod graph;
mod import;
mod limits;
mod lower;
pub mod mark;
mod normal;
mod proto;
mod rewrite;
mod session;
mod tensor;
mod threads;
mod weight;
mod wire;

pub use {
    error::{ExportError, ImportError, LoadError, RunError},
    external::{ExternalData, ExternalDataError, ExternalFolder, NoExternalData},
    fuzz::fuzz_onnx,
    graph::Graph,
    limits::Limits,
    session::{EngineChoice, Session},
    tensor::{DataType, Dim, Labels, ShapeMismatch, Signature, Tensor, TensorData, TensorSpec},
    threads::Threads,
};
