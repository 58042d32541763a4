//! Objects and lists of a body, read field by field within bounds.
//!
//! serde's own errors quote the body, so they never leave this module: a refusal is noted in [`Reader`] where it is
//! found, and what serde reports is used for its position alone.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::body_error::{BodyError, Place, Reason};
use crate::limits::{BodyLimits, Elements};
use crate::own::BINARY_DATA_SIZE;
use crate::{Parameter, Parameters};

/// The bounds and the first refusal of one body.
pub(super) struct Reader<'c> {
    pub(super) limits: &'c BodyLimits,
    pub(super) elements: Elements,
    /// What of the raw data behind the JSON no tensor has taken yet; none where the body is JSON alone.
    raw: Cell<Option<&'c [u8]>>,
    refusal: RefCell<Option<Reason>>,
    expected: Cell<(Place, &'static str)>,
}

impl<'c> Reader<'c> {
    pub(super) const fn new(limits: &'c BodyLimits) -> Self {
        Self {
            limits,
            elements: Elements::new(limits),
            raw: Cell::new(None),
            refusal: RefCell::new(None),
            expected: Cell::new((Place::BODY, "an object")),
        }
    }

    /// Reads a body of JSON and the raw data behind it with `seed`.
    pub(super) fn read_binary<S: DeserializeSeed<'c>>(
        &self,
        body: &'c [u8],
        json_length: usize,
        seed: S,
    ) -> Result<S::Value, BodyError> {
        self.check_size(body)?;
        let parts = body.split_at_checked(json_length);
        let (json, raw) = parts.ok_or(BodyError::new(Reason::HeaderLength))?;
        self.raw.set(Some(raw));
        let value = self.read(json, seed)?;
        if self.raw.get().is_some_and(|rest| !rest.is_empty()) {
            return Err(BodyError::new(Reason::LeftOver));
        }
        Ok(value)
    }

    /// The next `size` bytes of the raw data.
    pub(super) fn take_raw(&self, size: usize, at: Place) -> Result<&'c [u8], Reason> {
        let raw = self.raw.get().ok_or(Reason::NoHeader { at })?;
        let parts = raw.split_at_checked(size);
        let (taken, rest) = parts.ok_or(Reason::WrongParameter {
            at,
            name: BINARY_DATA_SIZE,
            expected: "no more than the bytes that follow",
        })?;
        self.raw.set(Some(rest));
        Ok(taken)
    }

    pub(super) fn check_size(&self, body: &[u8]) -> Result<(), BodyError> {
        let limit = self.limits.max_bytes;
        if body.len() > limit {
            return Err(BodyError::new(Reason::BodyTooLarge { limit }));
        }
        Ok(())
    }

    /// Reads a whole body with `seed`.
    pub(super) fn read<'de, S: DeserializeSeed<'de>>(
        &self,
        body: &'de [u8],
        seed: S,
    ) -> Result<S::Value, BodyError> {
        self.check_size(body)?;
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let value = seed
            .deserialize(&mut deserializer)
            .map_err(|error| self.refused(&error, body))?;
        deserializer.end().map_err(|error| self.refused(&error, body))?;
        Ok(value)
    }

    /// Notes why the body is refused; the returned error only unwinds serde.
    pub(super) fn refuse<E: serde::de::Error>(&self, reason: Reason) -> E {
        self.refusal.borrow_mut().get_or_insert(reason);
        E::custom("refused")
    }

    /// Says what comes next, for the case that something else does.
    pub(super) fn expect(&self, at: Place, expected: &'static str) {
        self.expected.set((at, expected));
    }

    fn refused(&self, error: &serde_json::Error, body: &[u8]) -> BodyError {
        let (line, column) = (error.line(), error.column());
        let reason = match (self.refusal.borrow_mut().take(), error.classify()) {
            (Some(reason), _) => reason,
            (None, serde_json::error::Category::Data) => {
                let (at, expected) = self.expected.get();
                Reason::WrongType { at, expected }
            }
            (None, _) if names_no_number(body, line, column) => Reason::NotFinite { line, column },
            (None, _) => Reason::Malformed { line, column },
        };
        BodyError::new(reason)
    }
}

/// Whether the text at a position is one of the words that other writers put where JSON wants a number.
fn names_no_number(body: &[u8], line: usize, column: usize) -> bool {
    let start = body
        .split(|&byte| byte == b'\n')
        .nth(line.saturating_sub(1))
        .unwrap_or_default();
    // serde_json points at the word's first letter, or behind the letters and the sign that it could still read.
    let near = start.get(column.saturating_sub(2)..).unwrap_or_default();
    let words = ["NaN", "Inf", "nan", "inf"];
    near.windows(3)
        .take(3)
        .any(|window| words.iter().any(|word| word.as_bytes() == window))
}

/// Whether a field was one that the caller knows.
pub(super) enum Field {
    Taken,
    Unknown,
}

/// Reads an object: each key once, known ones by `take`, others passed over.
pub(super) fn fields<'de, A: MapAccess<'de>>(
    reader: &Reader<'_>,
    at: Place,
    mut map: A,
    mut take: impl FnMut(&str, &mut A) -> Result<Field, A::Error>,
) -> Result<(), A::Error> {
    let limit = reader.limits.max_keys;
    let mut seen: Vec<Cow<'de, str>> = Vec::new();
    while let Some(key) = map.next_key_seed(Text::key(reader, at))? {
        if seen.contains(&key) {
            return Err(reader.refuse(Reason::DuplicateKey { at }));
        }
        if seen.len() == limit {
            return Err(reader.refuse(Reason::TooMany {
                at,
                what: "keys",
                limit,
            }));
        }
        match take(&key, &mut map)? {
            Field::Taken => {}
            Field::Unknown => pass_over(reader, at, &mut map)?,
        }
        seen.push(key);
    }
    Ok(())
}

/// A value that the protocol does not know is checked for JSON and for depth, and dropped.
fn pass_over<'de, A: MapAccess<'de>>(reader: &Reader<'_>, at: Place, map: &mut A) -> Result<(), A::Error> {
    let limit = reader.limits.max_depth;
    let value: &RawValue = map.next_value()?;
    if depth(value.get()) > limit {
        return Err(reader.refuse(Reason::TooDeep { at, limit }));
    }
    Ok(())
}

/// How deep lists and objects are nested in a checked stretch of JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            _ if string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A bounded string.
pub(super) struct Text<'r, 'c> {
    reader: &'r Reader<'c>,
    at: Place,
    what: &'static str,
    limit: usize,
}

impl<'r, 'c> Text<'r, 'c> {
    pub(super) fn new(reader: &'r Reader<'c>, at: Place, limit: usize) -> Self {
        Self {
            reader,
            at,
            what: "a text",
            limit,
        }
    }

    fn key(reader: &'r Reader<'c>, at: Place) -> Self {
        Self {
            reader,
            at,
            what: "a key",
            limit: reader.limits.max_name_bytes,
        }
    }

    fn check<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        let Self { at, what, limit, .. } = *self;
        if text.len() > limit {
            Err(self.reader.refuse(Reason::TooLong { at, what, limit }))
        } else {
            Ok(())
        }
    }
}

impl<'de> DeserializeSeed<'de> for Text<'_, '_> {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.reader.expect(self.at, "a string");
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text<'_, '_> {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.check(text)?;
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.check(text)?;
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A bounded list whose entries are read by a seed made for each position.
pub(super) struct List<'r, 'c, F> {
    pub(super) reader: &'r Reader<'c>,
    pub(super) at: Place,
    pub(super) expected: &'static str,
    pub(super) what: &'static str,
    pub(super) limit: usize,
    pub(super) entry: F,
}

impl<'de, S: DeserializeSeed<'de>, F: Fn(usize) -> S> DeserializeSeed<'de> for List<'_, '_, F> {
    type Value = Vec<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.reader.expect(self.at, self.expected);
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de>, F: Fn(usize) -> S> Visitor<'de> for List<'_, '_, F> {
    type Value = Vec<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Self { at, what, limit, .. } = self;
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element_seed((self.entry)(entries.len()))? {
            if entries.len() == limit {
                return Err(self.reader.refuse(Reason::TooMany { at, what, limit }));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// One extent of a shape.
pub(super) struct Extent;

impl<'de> DeserializeSeed<'de> for Extent {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }
}

/// An object of scalars.
pub(super) struct ParametersSeed<'r, 'c> {
    pub(super) reader: &'r Reader<'c>,
    pub(super) at: Place,
}

impl<'de> DeserializeSeed<'de> for ParametersSeed<'_, '_> {
    type Value = Parameters;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parameters, D::Error> {
        self.reader.expect(self.at, "an object");
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ParametersSeed<'_, '_> {
    type Value = Parameters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Parameters, A::Error> {
        let Self { reader, at } = self;
        let mut parameters = Parameters::new();
        fields(reader, at, map, |key, map| {
            parameters.insert(key.to_owned(), map.next_value_seed(Scalar { reader, at })?);
            Ok(Field::Taken)
        })?;
        Ok(parameters)
    }
}

/// A parameter's value.
struct Scalar<'r, 'c> {
    reader: &'r Reader<'c>,
    at: Place,
}

impl<'de> DeserializeSeed<'de> for Scalar<'_, '_> {
    type Value = Parameter;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parameter, D::Error> {
        self.reader
            .expect(self.at, "an object of strings, numbers and booleans");
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Scalar<'_, '_> {
    type Value = Parameter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parameter, E> {
        Ok(Parameter::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Parameter, E> {
        Ok(Parameter::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parameter, E> {
        Ok(Parameter::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Parameter, E> {
        serde_json::Number::from_f64(value)
            .map(Parameter::Number)
            .ok_or_else(|| E::custom("not finite"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Parameter, E> {
        Text::new(self.reader, self.at, self.reader.limits.max_name_bytes)
            .visit_str(text)
            .map(|text| Parameter::String(text.into_owned()))
    }
}
