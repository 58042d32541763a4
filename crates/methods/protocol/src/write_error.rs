//! Why a tensor cannot be written, in whatever protocol.

use crate::WireType;

/// A tensor that a body cannot carry. Nothing of it may leave: the answer becomes an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// NaN or an infinity.
    #[error("tensor {position} holds a value that is not finite")]
    NotFinite {
        /// Which tensor, from 0.
        position: usize,
    },
    /// Half precision.
    #[error("tensor {position} is `{datatype}`, which has no JSON form")]
    HalfPrecision {
        /// Which tensor, from 0.
        position: usize,
        /// `FP16` or `BF16`.
        datatype: WireType,
    },
    /// `BYTES` that are not UTF-8.
    #[error("tensor {position} holds bytes that are not text, which JSON cannot carry")]
    NotText {
        /// Which tensor, from 0.
        position: usize,
    },
    /// The tensor has no rows, or not as many as the others.
    #[error("tensor {position} has no rows, or not as many as the others; use the column form")]
    NoRows {
        /// Which tensor, from 0.
        position: usize,
    },
    /// The tensor is empty, and its shape asks for a great many empty lists.
    #[error("tensor {position} has too many rows without an element")]
    EmptyRows {
        /// Which tensor, from 0.
        position: usize,
    },
    /// The parts of the tensor contradict each other.
    #[error("tensor {position} has data that does not fit its type or shape")]
    Inconsistent {
        /// Which tensor, from 0.
        position: usize,
    },
}
