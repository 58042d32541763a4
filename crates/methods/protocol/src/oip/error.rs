//! Why a body was refused.
//!
//! INVARIANT: no variant holds text from the body; places are our own names and positions.

use std::fmt;

use crate::{ErrorCode, WireType};

/// Where in a body something is, as `inputs[0].shape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    list: Option<(&'static str, usize)>,
    field: &'static str,
}

impl Place {
    pub(super) const BODY: Self = Self {
        list: None,
        field: "",
    };

    pub(super) const fn field(field: &'static str) -> Self {
        Self { list: None, field }
    }

    pub(super) const fn entry(list: &'static str, position: usize) -> Self {
        Self {
            list: Some((list, position)),
            field: "",
        }
    }

    /// The same entry, one field deeper.
    pub(super) const fn at(self, field: &'static str) -> Self {
        Self {
            list: self.list,
            field,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.list, self.field) {
            (None, "") => f.write_str("the body"),
            (None, field) => write!(f, "`{field}`"),
            (Some((list, position)), "") => write!(f, "`{list}[{position}]`"),
            (Some((list, position)), field) => write!(f, "`{list}[{position}].{field}`"),
        }
    }
}

/// Why a body is not a request (or answer) of the Open Inference Protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct OipError {
    reason: Reason,
}

impl OipError {
    pub(super) const fn new(reason: Reason) -> Self {
        Self { reason }
    }

    /// The code to answer with.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self.reason {
            Reason::BodyTooLarge { .. } => ErrorCode::BodyTooLarge,
            Reason::Malformed { .. }
            | Reason::NotFinite { .. }
            | Reason::WrongType { .. }
            | Reason::Missing { .. }
            | Reason::DuplicateKey { .. }
            | Reason::DuplicateName { .. }
            | Reason::TooMany { .. }
            | Reason::TooLong { .. }
            | Reason::TooDeep { .. }
            | Reason::UnknownDatatype { .. }
            | Reason::HalfPrecision { .. }
            | Reason::BinaryData { .. }
            | Reason::SharedMemory { .. }
            | Reason::ShapeOverflow { .. }
            | Reason::WrongCount { .. }
            | Reason::WrongNesting { .. }
            | Reason::WrongElement { .. }
            | Reason::OutOfRange { .. } => ErrorCode::InvalidRequest,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the body is not valid JSON (line {line}, column {column})")]
    Malformed { line: usize, column: usize },
    #[error("`NaN` and `Infinity` are not numbers in JSON (line {line}, column {column})")]
    NotFinite { line: usize, column: usize },
    #[error("{at} must be {expected}")]
    WrongType { at: Place, expected: &'static str },
    #[error("{at} is missing")]
    Missing { at: Place },
    #[error("{at} has a key twice")]
    DuplicateKey { at: Place },
    #[error("{at} has the name of an earlier tensor")]
    DuplicateName { at: Place },
    #[error("{at} has more than {limit} {what}")]
    TooMany {
        at: Place,
        what: &'static str,
        limit: usize,
    },
    #[error("{at} has {what} of more than {limit} bytes")]
    TooLong {
        at: Place,
        what: &'static str,
        limit: usize,
    },
    #[error("{at} has a value nested deeper than {limit}")]
    TooDeep { at: Place, limit: usize },
    #[error("{at} is not a data type of the protocol (such as `FP32`)")]
    UnknownDatatype { at: Place },
    #[error(
        "{at}: `{datatype}` has no JSON form, only the binary tensor data extension carries it; send `FP32`"
    )]
    HalfPrecision { at: Place, datatype: WireType },
    #[error(
        "{at}: the binary tensor data extension is not served; send `data` as JSON (`binary_data=False`)"
    )]
    BinaryData { at: Place },
    #[error("{at}: shared memory is not served; send `data`")]
    SharedMemory { at: Place },
    #[error("{at} has more elements than can be counted")]
    ShapeOverflow { at: Place },
    #[error("{at} must have {expected} elements, as `shape` says")]
    WrongCount { at: Place, expected: usize },
    #[error("{at} must be flat, or nested exactly as `shape` says")]
    WrongNesting { at: Place },
    #[error("{at}: element {element} must be {expected}, as `{datatype}` says")]
    WrongElement {
        at: Place,
        element: usize,
        expected: &'static str,
        datatype: WireType,
    },
    #[error("{at}: element {element} does not fit `{datatype}`")]
    OutOfRange {
        at: Place,
        element: usize,
        datatype: WireType,
    },
}
