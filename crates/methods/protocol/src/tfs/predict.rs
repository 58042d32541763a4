//! `:predict`: a request or an answer from its JSON body, in row or column form.

use crate::body_error::{BodyError, Place, Reason};
use crate::limits::BodyLimits;
use crate::oip::TensorMetadata;
use crate::{InferRequest, WireTensor};

use super::cursor::Cursor;
use super::tensor::{Left, Tensor, Words};

/// How a body arranges tensors; an answer comes in the form of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `instances` and `predictions`: a list of rows, each with a part of every tensor.
    Row,
    /// `inputs` and `outputs`: whole tensors.
    Column,
}

/// A `:predict` request.
#[derive(Clone, Debug, PartialEq)]
pub struct Predict {
    /// The form.
    pub form: Form,
    /// The model's signature that the client names.
    pub signature: Option<String>,
    /// What is asked; its inputs are in the order of the model's.
    pub request: InferRequest,
}

/// Reads the body of `POST ...:predict` for a model that takes `inputs`.
///
/// # Guarantee
/// Time and memory grow with the body's length only; each input is there once, of its type and rank, not ragged;
/// numbers are finite.
pub fn parse_predict_request(
    body: &[u8],
    inputs: &[TensorMetadata],
    limits: &BodyLimits,
) -> Result<Predict, BodyError> {
    let read = Reader::new(body, &REQUEST, inputs, limits).and_then(Reader::read);
    let read = read.map_err(BodyError::new)?;
    Ok(Predict {
        form: read.form,
        signature: read.signature,
        request: InferRequest {
            inputs: read.tensors,
            ..InferRequest::default()
        },
    })
}

/// Reads the body that answers `POST ...:predict` of a model that gives `outputs`, within the same bounds.
///
/// # Limits
/// Numbers need not be finite: this protocol has words for the others.
pub fn parse_predict_response(
    body: &[u8],
    outputs: &[TensorMetadata],
    limits: &BodyLimits,
) -> Result<Vec<WireTensor>, BodyError> {
    let read = Reader::new(body, &RESPONSE, outputs, limits).and_then(Reader::read);
    read.map(|read| read.tensors).map_err(BodyError::new)
}

/// What a request and an answer have different.
pub(super) struct Keys {
    pub(super) row: &'static str,
    pub(super) column: &'static str,
    signature: Option<&'static str>,
    words: Words,
}

pub(super) const REQUEST: Keys = Keys {
    row: "instances",
    column: "inputs",
    signature: Some("signature_name"),
    words: Words::Refused,
};

pub(super) const RESPONSE: Keys = Keys {
    row: "predictions",
    column: "outputs",
    signature: None,
    words: Words::Read,
};

struct Body {
    form: Form,
    signature: Option<String>,
    tensors: Vec<WireTensor>,
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    keys: &'static Keys,
    model: &'a [TensorMetadata],
    limits: &'a BodyLimits,
    left: Left,
}

impl<'a> Reader<'a> {
    fn new(
        body: &'a [u8],
        keys: &'static Keys,
        model: &'a [TensorMetadata],
        limits: &'a BodyLimits,
    ) -> Result<Self, Reason> {
        let limit = limits.max_bytes;
        if body.len() > limit {
            return Err(Reason::BodyTooLarge { limit });
        }
        Ok(Self {
            cursor: Cursor::new(body)?,
            keys,
            model,
            limits,
            left: Left::new(limits),
        })
    }

    fn read(mut self) -> Result<Body, Reason> {
        let (mut seen, mut read, mut signature) = (Vec::new(), None, None);
        if !self.cursor.take(b'{') {
            // What is no JSON at all is told from what is another value.
            self.cursor.pass_over(Place::BODY, self.limits.max_depth)?;
            let expected = "an object";
            return Err(Reason::WrongType {
                at: Place::BODY,
                expected,
            });
        }
        self.entries(|reader| {
            let (at, limit) = (Place::BODY, reader.limits.max_keys);
            let key = reader.cursor.key(at, reader.limits.max_name_bytes)?;
            if seen.contains(&key) {
                return Err(Reason::DuplicateKey { at });
            }
            if seen.len() == limit {
                return Err(Reason::TooMany {
                    at,
                    what: "keys",
                    limit,
                });
            }
            let tensors = if key == reader.keys.row {
                Some((Form::Row, reader.rows()?))
            } else if key == reader.keys.column {
                Some((Form::Column, reader.columns()?))
            } else {
                None
            };
            match tensors {
                Some(_) if read.is_some() => return Err(Reason::TwoForms { at }),
                Some(_) => read = tensors,
                None if reader.keys.signature == Some(&*key) => {
                    let at = Place::field("signature_name");
                    let text = reader.cursor.text(at, "a text", reader.limits.max_name_bytes)?;
                    signature = Some(text.into_owned());
                }
                None => reader.cursor.pass_over(at, reader.limits.max_depth)?,
            }
            seen.push(key);
            Ok(())
        })?;
        self.cursor.end()?;
        let at = Place::field(self.keys.row);
        let (form, tensors) = read.ok_or(Reason::Missing { at })?;
        Ok(Body {
            form,
            signature,
            tensors,
        })
    }

    /// What follows a `{`: entries that `entry` reads from their key on.
    fn entries(&mut self, mut entry: impl FnMut(&mut Self) -> Result<(), Reason>) -> Result<(), Reason> {
        if self.cursor.take(b'}') {
            return Ok(());
        }
        loop {
            entry(self)?;
            if !self.cursor.take(b',') {
                return self.cursor.expect(b'}');
            }
        }
    }

    fn tensors(&self) -> Result<Vec<Tensor<'a>>, Reason> {
        let new = |(position, metadata): (usize, &'a TensorMetadata)| {
            let at = Place::entry(self.keys.column, position);
            Tensor::new(metadata, at, self.keys.words, self.limits)
        };
        self.model.iter().enumerate().map(new).collect()
    }

    fn rows(&mut self) -> Result<Vec<WireTensor>, Reason> {
        let at = Place::field(self.keys.row);
        let mut tensors = self.tensors()?;
        if tensors.iter().any(|tensor| tensor.metadata.shape.is_empty()) {
            return Err(Reason::NoRows { at });
        }
        let expected = "a list of at least one row";
        if !self.cursor.take(b'[') || self.cursor.peek() == Some(b']') {
            return Err(Reason::WrongType { at, expected });
        }
        let mut rows = 0;
        loop {
            self.value(at, &mut tensors, 1)?;
            rows += 1;
            if !self.cursor.take(b',') {
                break;
            }
        }
        self.cursor.expect(b']')?;
        Ok(tensors
            .into_iter()
            .map(|tensor| tensor.finish(Some(rows)))
            .collect())
    }

    fn columns(&mut self) -> Result<Vec<WireTensor>, Reason> {
        let at = Place::field(self.keys.column);
        let mut tensors = self.tensors()?;
        self.value(at, &mut tensors, 0)?;
        Ok(tensors.into_iter().map(|tensor| tensor.finish(None)).collect())
    }

    /// The single tensor's value, or an object of each tensor's by its name.
    fn value(&mut self, at: Place, tensors: &mut [Tensor<'a>], depth: usize) -> Result<(), Reason> {
        let limit = self.limits.max_name_bytes;
        if let [tensor] = tensors
            && (self.cursor.peek() != Some(b'{') || tensor.is_b64(self.cursor, depth, limit))
        {
            return tensor.read(&mut self.cursor, depth, &mut self.left);
        }
        let each_once = Reason::NotEachOnce { at };
        if !self.cursor.take(b'{') {
            return Err(each_once);
        }
        let mut read = vec![false; tensors.len()];
        self.entries(|reader| {
            let key = reader.cursor.key(at, limit)?;
            let mut named = tensors.iter_mut().zip(&mut read);
            let named = named.find(|(tensor, read)| tensor.metadata.name == key && !**read);
            let (tensor, read) = named.ok_or(Reason::NotEachOnce { at })?;
            *read = true;
            tensor.read(&mut reader.cursor, depth, &mut reader.left)
        })?;
        if read.contains(&false) {
            return Err(each_once);
        }
        Ok(())
    }
}
