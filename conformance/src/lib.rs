//! Real clients and second implementations against the real binary.
//!
//! Each file in `tests/` is one counterpart. Those in Python get their environment from [`python::environment`].

pub mod python;
mod skip;

pub use skip::skip;
