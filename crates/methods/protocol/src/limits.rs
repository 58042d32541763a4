//! How large a body may be, in every direction in which it can grow.

use std::cell::Cell;

use serde::Deserialize;

use crate::body_error::{BodyError, Place, Reason};

/// The bounds of one body.
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
    /// Depth of values under JSON keys that the protocol does not know.
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

impl BodyLimits {
    /// Reads JSON whose shape its type tells. serde's own errors quote the body and go no further.
    pub(crate) fn read_json<'de, T: Deserialize<'de>>(&self, body: &'de [u8]) -> Result<T, BodyError> {
        let limit = self.max_bytes;
        if body.len() > limit {
            return Err(BodyError::new(Reason::BodyTooLarge { limit }));
        }
        serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            BodyError::new(Reason::Malformed { line, column })
        })
    }
}

/// How many elements the tensors of one body may still have.
pub(crate) struct Elements {
    left: Cell<usize>,
    limit: usize,
}

impl Elements {
    pub(crate) const fn new(limits: &BodyLimits) -> Self {
        Self {
            left: Cell::new(limits.max_elements),
            limit: limits.max_elements,
        }
    }

    /// Counts the elements of a shape, and takes them from what is left.
    pub(crate) fn claim(&self, shape: &[u64], at: Place) -> Result<usize, Reason> {
        let count = count(shape).ok_or(Reason::ShapeOverflow { at })?;
        let left = self.left.get().checked_sub(count).ok_or(Reason::TooMany {
            at: Place::BODY,
            what: "tensor elements",
            limit: self.limit,
        })?;
        self.left.set(left);
        Ok(count)
    }
}

/// How many elements a shape has, if that can be counted; even a shape with a 0 must not overflow before it.
pub(crate) fn count(shape: &[u64]) -> Option<usize> {
    let product = shape
        .iter()
        .try_fold(1_u64, |product, &extent| product.checked_mul(extent))?;
    usize::try_from(product).ok()
}
