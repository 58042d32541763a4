//! A request or an answer from its JSON body.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::body_error::{BodyError, Place, Reason};
use crate::element::Element;
use crate::limits::BodyLimits;
use crate::raw::RawTensor;
use crate::{InferRequest, InferResponse, Parameters, RequestedOutput, WireTensor, WireType, own};

use super::data::Declared;
use super::fields::{Extent, Field, List, ParametersSeed, Reader, Text, fields};

/// Reads the body of `POST .../infer`.
///
/// # Guarantee
/// Time and memory grow with the body's length only; each key is there once; each tensor's data fits its type and
/// shape; names of tensors differ; numbers are finite.
pub fn parse_infer_request(body: &[u8], limits: &BodyLimits) -> Result<InferRequest, BodyError> {
    let reader = Reader::new(limits);
    reader.read(body, Envelope::request(&reader))?.into_request()
}

/// Reads the body that answers `POST .../infer`, within the same bounds.
pub fn parse_infer_response(body: &[u8], limits: &BodyLimits) -> Result<InferResponse, BodyError> {
    let reader = Reader::new(limits);
    reader.read(body, Envelope::response(&reader))?.into_response()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Response,
}

/// The fields of either body.
#[derive(Default)]
pub(super) struct Fields {
    id: Option<String>,
    model_name: Option<String>,
    model_version: Option<String>,
    parameters: Parameters,
    binary_outputs: Option<bool>,
    tensors: Option<Vec<WireTensor>>,
    requested: Option<Vec<RequestedOutput>>,
}

impl Fields {
    pub(super) fn into_request(self) -> Result<InferRequest, BodyError> {
        let inputs = self.tensors.ok_or(missing("inputs"))?;
        if inputs.is_empty() {
            return Err(BodyError::new(Reason::WrongType {
                at: Place::field("inputs"),
                expected: "a list of at least one tensor",
            }));
        }
        Ok(InferRequest {
            id: self.id,
            parameters: self.parameters,
            inputs,
            // As in Triton, an empty list asks for all outputs.
            outputs: self.requested.filter(|requested| !requested.is_empty()),
            binary_outputs: self.binary_outputs,
        })
    }

    pub(super) fn into_response(self) -> Result<InferResponse, BodyError> {
        Ok(InferResponse {
            model_name: self.model_name.ok_or(missing("model_name"))?,
            model_version: self.model_version,
            id: self.id,
            parameters: self.parameters,
            outputs: self.tensors.ok_or(missing("outputs"))?,
        })
    }
}

const fn missing(field: &'static str) -> BodyError {
    BodyError::new(Reason::Missing {
        at: Place::field(field),
    })
}

/// The object that a body is.
pub(super) struct Envelope<'r, 'c> {
    reader: &'r Reader<'c>,
    kind: Kind,
}

impl<'r, 'c> Envelope<'r, 'c> {
    pub(super) const fn request(reader: &'r Reader<'c>) -> Self {
        let kind = Kind::Request;
        Self { reader, kind }
    }

    pub(super) const fn response(reader: &'r Reader<'c>) -> Self {
        let kind = Kind::Response;
        Self { reader, kind }
    }
}

impl<'de> DeserializeSeed<'de> for Envelope<'_, '_> {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Envelope<'_, '_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fields, A::Error> {
        let Self { reader, kind } = self;
        let names = reader.limits.max_name_bytes;
        let text = |map: &mut A, field, limit| {
            map.next_value_seed(Text::new(reader, Place::field(field), limit))
                .map(|text| Some(text.into_owned()))
        };
        let mut read = Fields::default();
        fields(reader, Place::BODY, map, |key, map| {
            match (key, kind) {
                ("id", _) => read.id = text(map, "id", reader.limits.max_id_bytes)?,
                ("model_name", Kind::Response) => read.model_name = text(map, "model_name", names)?,
                ("model_version", Kind::Response) => read.model_version = text(map, "model_version", names)?,
                ("parameters", _) => {
                    let at = Place::field("parameters");
                    read.parameters = map.next_value_seed(ParametersSeed { reader, at })?;
                    if kind == Kind::Request {
                        let taken = own::take_bool(&mut read.parameters, own::BINARY_DATA_OUTPUT, at);
                        read.binary_outputs = taken.map_err(|reason| reader.refuse(reason))?;
                    }
                    own::refuse_rest(&read.parameters, at).map_err(|reason| reader.refuse(reason))?;
                }
                ("inputs", Kind::Request) => read.tensors = Some(tensors(reader, "inputs", map)?),
                ("outputs", Kind::Response) => read.tensors = Some(tensors(reader, "outputs", map)?),
                ("outputs", Kind::Request) => read.requested = Some(requested(reader, map)?),
                _ => return Ok(Field::Unknown),
            }
            Ok(Field::Taken)
        })?;
        Ok(read)
    }
}

fn tensors<'de, A: MapAccess<'de>>(
    reader: &Reader<'_>,
    list: &'static str,
    map: &mut A,
) -> Result<Vec<WireTensor>, A::Error> {
    let tensors = map.next_value_seed(List {
        reader,
        at: Place::field(list),
        expected: "a list of tensors",
        what: "tensors",
        limit: reader.limits.max_tensors,
        entry: |position| TensorSeed {
            reader,
            at: Place::entry(list, position),
        },
    })?;
    differ(reader, list, tensors.iter().map(|tensor| tensor.name.as_str()))?;
    Ok(tensors)
}

fn requested<'de, A: MapAccess<'de>>(
    reader: &Reader<'_>,
    map: &mut A,
) -> Result<Vec<RequestedOutput>, A::Error> {
    let requested = map.next_value_seed(List {
        reader,
        at: Place::field("outputs"),
        expected: "a list of requested outputs",
        what: "entries",
        limit: reader.limits.max_tensors,
        entry: |position| RequestedSeed {
            reader,
            at: Place::entry("outputs", position),
        },
    })?;
    differ(
        reader,
        "outputs",
        requested.iter().map(|output| output.name.as_str()),
    )?;
    Ok(requested)
}

fn differ<'t, E: serde::de::Error>(
    reader: &Reader<'_>,
    list: &'static str,
    names: impl Iterator<Item = &'t str>,
) -> Result<(), E> {
    let mut seen = BTreeSet::new();
    for (position, name) in names.enumerate() {
        if !seen.insert(name) {
            return Err(reader.refuse(Reason::DuplicateName {
                at: Place::entry(list, position),
            }));
        }
    }
    Ok(())
}

struct RequestedSeed<'r, 'c> {
    reader: &'r Reader<'c>,
    at: Place,
}

impl<'de> DeserializeSeed<'de> for RequestedSeed<'_, '_> {
    type Value = RequestedOutput;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RequestedOutput, D::Error> {
        self.reader.expect(self.at, "an object");
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RequestedSeed<'_, '_> {
    type Value = RequestedOutput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RequestedOutput, A::Error> {
        let Self { reader, at } = self;
        let (mut name, mut parameters) = (None, Parameters::new());
        fields(reader, at, map, |key, map| {
            match key {
                "name" => name = Some(map.next_value_seed(name_at(reader, at))?.into_owned()),
                "parameters" => {
                    parameters = map.next_value_seed(ParametersSeed {
                        reader,
                        at: at.at("parameters"),
                    })?
                }
                _ => return Ok(Field::Unknown),
            }
            Ok(Field::Taken)
        })?;
        let name = name.ok_or_else(|| reader.refuse(Reason::Missing { at: at.at("name") }))?;
        RequestedOutput::new(name, parameters, at).map_err(|reason| reader.refuse(reason))
    }
}

struct TensorSeed<'r, 'c> {
    reader: &'r Reader<'c>,
    at: Place,
}

impl<'de> DeserializeSeed<'de> for TensorSeed<'_, '_> {
    type Value = WireTensor;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<WireTensor, D::Error> {
        self.reader.expect(self.at, "an object");
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TensorSeed<'_, '_> {
    type Value = WireTensor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WireTensor, A::Error> {
        let Self { reader, at } = self;
        let mut read = TensorFields::default();
        fields(reader, at, map, |key, map| {
            match key {
                "name" => read.name = Some(map.next_value_seed(name_at(reader, at))?.into_owned()),
                "datatype" => {
                    let at = at.at("datatype");
                    let name = map.next_value_seed(Text::new(reader, at, reader.limits.max_name_bytes))?;
                    let datatype = WireType::parse(&name);
                    read.datatype =
                        Some(datatype.ok_or_else(|| reader.refuse(Reason::UnknownDatatype { at }))?);
                }
                "shape" => {
                    read.shape = Some(map.next_value_seed(List {
                        reader,
                        at: at.at("shape"),
                        expected: "a list of integers from 0 on",
                        what: "dimensions",
                        limit: reader.limits.max_dimensions,
                        entry: |_| Extent,
                    })?);
                }
                "parameters" => {
                    read.parameters = map.next_value_seed(ParametersSeed {
                        reader,
                        at: at.at("parameters"),
                    })?
                }
                "data" => read.data = Some(map.next_value()?),
                _ => return Ok(Field::Unknown),
            }
            Ok(Field::Taken)
        })?;
        read.finish(reader, at).map_err(|reason| reader.refuse(reason))
    }
}

/// A tensor's fields in whatever order they come; `data` waits, unread, for the type and the shape.
#[derive(Default)]
struct TensorFields<'de> {
    name: Option<String>,
    datatype: Option<WireType>,
    shape: Option<Vec<u64>>,
    parameters: Parameters,
    data: Option<&'de RawValue>,
}

impl TensorFields<'_> {
    fn finish(mut self, reader: &Reader<'_>, at: Place) -> Result<WireTensor, Reason> {
        let missing = |field| Reason::Missing { at: at.at(field) };
        let size = own::take_size(&mut self.parameters, at)?;
        own::refuse_rest(&self.parameters, at)?;
        let name = self.name.ok_or_else(|| missing("name"))?;
        let datatype = self.datatype.ok_or_else(|| missing("datatype"))?;
        let shape = self.shape.ok_or_else(|| missing("shape"))?;
        let max_element_bytes = reader.limits.max_element_bytes;
        let data = match (size, self.data) {
            (Some(_), Some(_)) => return Err(Reason::TwoForms { at }),
            (None, None) => return Err(missing("data")),
            (Some(size), None) => {
                let bytes = reader.take_raw(size, at)?;
                let count = reader.elements.claim(&shape, at.at("shape"))?;
                RawTensor {
                    at,
                    datatype,
                    count,
                    max_element_bytes,
                }
                .read(bytes)?
            }
            (None, Some(json)) => {
                let count = reader.elements.claim(&shape, at.at("shape"))?;
                let element = Element {
                    at: at.at("data"),
                    datatype,
                    max_element_bytes,
                };
                Declared {
                    element,
                    shape: &shape,
                    count,
                }
                .read(json.get())?
            }
        };
        Ok(WireTensor {
            name,
            datatype,
            shape,
            parameters: self.parameters,
            data,
        })
    }
}

fn name_at<'r, 'c>(reader: &'r Reader<'c>, at: Place) -> Text<'r, 'c> {
    Text::new(reader, at.at("name"), reader.limits.max_name_bytes)
}
