//! Readers of examples; pure. Bytes of any origin come in, bounded; numbers come out.
//!
//! [`npy`] reads one array in NumPy's format.

pub mod npy;
