//! Why a body was refused, in whatever protocol it came.
//!
//! INVARIANT: no variant holds text from the body; places are our own names and positions.

use std::fmt;

use crate::{ErrorCode, WireType};

/// Where in a body something is, as `inputs[0].shape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    list: Option<(&'static str, usize)>,
    field: &'static str,
}

impl Place {
    pub(crate) const BODY: Self = Self {
        list: None,
        field: "",
    };

    pub(crate) const fn field(field: &'static str) -> Self {
        Self { list: None, field }
    }

    pub(crate) const fn entry(list: &'static str, position: usize) -> Self {
        Self {
            list: Some((list, position)),
            field: "",
        }
    }

    /// The same entry, one field deeper.
    pub(crate) const fn at(self, field: &'static str) -> Self {
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

/// Why a body is not a request (or an answer) of its protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BodyError {
    reason: Reason,
}

impl BodyError {
    pub(crate) const fn new(reason: Reason) -> Self {
        Self { reason }
    }

    /// The code to answer with.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self.reason {
            Reason::BodyTooLarge { .. } => ErrorCode::BodyTooLarge,
            Reason::SharedMemory { .. } => ErrorCode::Forbidden,
            Reason::NoModel => ErrorCode::NotFound,
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
            | Reason::NoHeader { .. }
            | Reason::HeaderLength
            | Reason::WrongSize { .. }
            | Reason::WrongRawElement { .. }
            | Reason::BrokenBytes { .. }
            | Reason::LeftOver
            | Reason::TwoForms { .. }
            | Reason::WrongParameter { .. }
            | Reason::Misplaced { .. }
            | Reason::NotRaw(_)
            | Reason::NotAMessage
            | Reason::WrongRank { .. }
            | Reason::Ragged { .. }
            | Reason::NoRows { .. }
            | Reason::NotEachOnce { .. }
            | Reason::RawCount { .. }
            | Reason::WrongContents { .. }
            | Reason::ShapeOverflow { .. }
            | Reason::WrongCount { .. }
            | Reason::WrongNesting { .. }
            | Reason::WrongElement { .. }
            | Reason::OutOfRange { .. } => ErrorCode::InvalidRequest,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
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
    #[error("{at}: `binary_data_size` needs the header `Inference-Header-Content-Length`")]
    NoHeader { at: Place },
    #[error("`Inference-Header-Content-Length` is more than the body has bytes")]
    HeaderLength,
    #[error("{at} must be {expected} bytes of raw data, as `datatype` and `shape` say")]
    WrongSize { at: Place, expected: usize },
    #[error("{at}: element {element} must be {expected}")]
    WrongRawElement {
        at: Place,
        element: usize,
        expected: &'static str,
    },
    #[error(
        "{at} must be as many elements as `shape` says, each a length (4 bytes, little endian) and its bytes"
    )]
    BrokenBytes { at: Place },
    #[error("the body has bytes after its last tensor")]
    LeftOver,
    #[error("{at} has its data in two forms")]
    TwoForms { at: Place },
    #[error("{at}: `{name}` must be {expected}")]
    WrongParameter {
        at: Place,
        name: &'static str,
        expected: &'static str,
    },
    #[error("{at} has a parameter of the protocol's own that has no meaning there")]
    Misplaced { at: Place },
    #[error("a body of raw data alone needs {0}")]
    NotRaw(&'static str),
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
    #[error("there is no such model")]
    NoModel,
    #[error("the body is not a valid message")]
    NotAMessage,
    #[error("{at} must be as many as the raw contents")]
    RawCount { at: Place },
    #[error("{at}: `contents` has elements in a field that is not that of `{datatype}`")]
    WrongContents { at: Place, datatype: WireType },
    #[error("{at} must be lists as deep as the model's metadata says")]
    WrongRank { at: Place },
    #[error("{at} must be lists of the same length at each depth")]
    Ragged { at: Place },
    #[error("{at}: the model has a tensor without rows; use the column form")]
    NoRows { at: Place },
    #[error("{at} must have each tensor of the model by its name, once, and nothing else")]
    NotEachOnce { at: Place },
}
