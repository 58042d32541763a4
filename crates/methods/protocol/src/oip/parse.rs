//! A request or an answer from its JSON body.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{InferRequest, InferResponse, Parameters, RequestedOutput, WireTensor, WireType};

use super::data::Declared;
use super::error::{OipError, Place, Reason};
use super::fields::{Extent, Field, List, ParametersSeed, Reader, Text, fields};
use super::limits::BodyLimits;

/// Reads the body of `POST .../infer`.
///
/// # Guarantee
/// Time and memory grow with the body's length only; each key is there once; each tensor's data fits its type and
/// shape; names of tensors differ; numbers are finite.
pub fn parse_infer_request(body: &[u8], limits: &BodyLimits) -> Result<InferRequest, OipError> {
    let reader = Reader::new(limits);
    let envelope = reader.read(
        body,
        Envelope {
            reader: &reader,
            kind: Kind::Request,
        },
    )?;
    let inputs = envelope.tensors.ok_or(OipError::new(Reason::Missing {
        at: Place::field("inputs"),
    }))?;
    if inputs.is_empty() {
        return Err(OipError::new(Reason::WrongType {
            at: Place::field("inputs"),
            expected: "a list of at least one tensor",
        }));
    }
    // As in Triton, an empty list asks for all outputs.
    let outputs = envelope.requested.filter(|requested| !requested.is_empty());
    Ok(InferRequest {
        id: envelope.id,
        parameters: envelope.parameters,
        inputs,
        outputs,
    })
}

/// Reads the body that answers `POST .../infer`, within the same bounds.
pub fn parse_infer_response(body: &[u8], limits: &BodyLimits) -> Result<InferResponse, OipError> {
    let reader = Reader::new(limits);
    let envelope = reader.read(
        body,
        Envelope {
            reader: &reader,
            kind: Kind::Response,
        },
    )?;
    let missing = |field| {
        OipError::new(Reason::Missing {
            at: Place::field(field),
        })
    };
    Ok(InferResponse {
        model_name: envelope.model_name.ok_or_else(|| missing("model_name"))?,
        model_version: envelope.model_version,
        id: envelope.id,
        parameters: envelope.parameters,
        outputs: envelope.tensors.ok_or_else(|| missing("outputs"))?,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Response,
}

/// The fields of either body.
#[derive(Default)]
struct Fields {
    id: Option<String>,
    model_name: Option<String>,
    model_version: Option<String>,
    parameters: Parameters,
    tensors: Option<Vec<WireTensor>>,
    requested: Option<Vec<RequestedOutput>>,
}

struct Envelope<'r, 'c> {
    reader: &'r Reader<'c>,
    kind: Kind,
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
                    read.parameters = map.next_value_seed(ParametersSeed {
                        reader,
                        at: Place::field("parameters"),
                    })?;
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
        if shared_memory(&parameters) {
            return Err(reader.refuse(Reason::SharedMemory { at }));
        }
        Ok(RequestedOutput { name, parameters })
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
    fn finish(self, reader: &Reader<'_>, at: Place) -> Result<WireTensor, Reason> {
        let missing = |field| Reason::Missing { at: at.at(field) };
        if self.parameters.contains_key("binary_data_size") {
            return Err(Reason::BinaryData { at });
        }
        if shared_memory(&self.parameters) {
            return Err(Reason::SharedMemory { at });
        }
        let name = self.name.ok_or_else(|| missing("name"))?;
        let datatype = self.datatype.ok_or_else(|| missing("datatype"))?;
        let shape = self.shape.ok_or_else(|| missing("shape"))?;
        let json = self.data.ok_or_else(|| missing("data"))?.get();
        let count = count(&shape).ok_or(Reason::ShapeOverflow { at: at.at("shape") })?;
        let Some(left) = reader.elements_left.get().checked_sub(count) else {
            let limit = reader.limits.max_elements;
            return Err(Reason::TooMany {
                at: Place::BODY,
                what: "tensor elements",
                limit,
            });
        };
        reader.elements_left.set(left);
        let max_element_bytes = reader.limits.max_element_bytes;
        let declared = Declared {
            at: at.at("data"),
            datatype,
            shape: &shape,
            count,
            max_element_bytes,
        };
        let data = declared.read(json)?;
        Ok(WireTensor {
            name,
            datatype,
            shape,
            parameters: self.parameters,
            data,
        })
    }
}

/// How many elements a shape has, if that can be counted; even a shape with a 0 must not overflow before it.
pub(super) fn count(shape: &[u64]) -> Option<usize> {
    let product = shape
        .iter()
        .try_fold(1_u64, |product, &extent| product.checked_mul(extent))?;
    usize::try_from(product).ok()
}

fn name_at<'r, 'c>(reader: &'r Reader<'c>, at: Place) -> Text<'r, 'c> {
    Text::new(reader, at.at("name"), reader.limits.max_name_bytes)
}

fn shared_memory(parameters: &Parameters) -> bool {
    parameters.keys().any(|key| key.starts_with("shared_memory_"))
}
