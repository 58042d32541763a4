//! Tensor elements: from a stretch of JSON straight into typed vectors.
//!
//! serde_json has already checked the stretch against the grammar and the body borrows it, so this reader may come
//! after `datatype` and `shape` wherever they stood, needs no tree of values, and sees each number as its text: FP32
//! is rounded once from the decimal, integers never pass through a float.
//!
//! INVARIANT: memory grows with the bytes that were sent, never with the shape that was claimed.

use std::str::FromStr;

use crate::{WireData, WireType};

use super::error::{Place, Reason};

/// What the reader knows of a tensor before it reads the elements.
pub(super) struct Declared<'a> {
    pub(super) at: Place,
    pub(super) datatype: WireType,
    pub(super) shape: &'a [u64],
    /// The product of `shape`.
    pub(super) count: usize,
    pub(super) max_element_bytes: usize,
}

impl Declared<'_> {
    /// Reads `data`, flat or nested as the shape says.
    pub(super) fn read(&self, json: &str) -> Result<WireData, Reason> {
        Ok(match self.datatype {
            WireType::Bool => {
                WireData::Bool(self.elements(json, |token, element| self.boolean(token, element))?)
            }
            WireType::U8 => WireData::U8(self.elements(json, |token, element| self.integer(token, element))?),
            WireType::I8 => WireData::I8(self.elements(json, |token, element| self.integer(token, element))?),
            WireType::U16 => {
                WireData::U16(self.elements(json, |token, element| self.integer(token, element))?)
            }
            WireType::I16 => {
                WireData::I16(self.elements(json, |token, element| self.integer(token, element))?)
            }
            WireType::U32 => {
                WireData::U32(self.elements(json, |token, element| self.integer(token, element))?)
            }
            WireType::I32 => {
                WireData::I32(self.elements(json, |token, element| self.integer(token, element))?)
            }
            WireType::U64 => {
                WireData::U64(self.elements(json, |token, element| self.integer(token, element))?)
            }
            WireType::I64 => {
                WireData::I64(self.elements(json, |token, element| self.integer(token, element))?)
            }
            WireType::F32 => {
                WireData::F32(self.elements(json, |token, element| self.float::<f32>(token, element))?)
            }
            WireType::F64 => {
                WireData::F64(self.elements(json, |token, element| self.float::<f64>(token, element))?)
            }
            WireType::Bytes => {
                WireData::Bytes(self.elements(json, |token, element| self.bytes(token, element))?)
            }
            WireType::F16 | WireType::BF16 => {
                return Err(Reason::HalfPrecision {
                    at: self.at,
                    datatype: self.datatype,
                });
            }
        })
    }

    fn elements<T, E>(&self, json: &str, element: E) -> Result<Vec<T>, Reason>
    where
        E: Fn(&str, usize) -> Result<T, Reason>,
    {
        let mut scan = Scanner { json, position: 0 };
        if !scan.take(b'[') {
            return Err(Reason::WrongType {
                at: self.at,
                expected: "a list",
            });
        }
        let nested = self.shape.len() > 1 && scan.peek() == Some(b'[');
        let read = Vec::with_capacity(self.count.min(json.len() / 2 + 1));
        let mut walk = Walk {
            declared: self,
            scan,
            element,
            read,
        };
        if nested {
            walk.nested(self.shape)?;
        } else {
            walk.list(self.count)?;
        }
        Ok(walk.read)
    }

    fn boolean(&self, token: &str, element: usize) -> Result<bool, Reason> {
        match token {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong(element, "true or false")),
        }
    }

    fn integer<T: FromStr>(&self, token: &str, element: usize) -> Result<T, Reason> {
        // Some writers say -0, which `FromStr` of unsigned types does not read.
        if let Ok(value) = if token == "-0" { "0" } else { token }.parse() {
            return Ok(value);
        }
        let integer = is_number(token) && !token.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        Err(if integer {
            Reason::OutOfRange {
                at: self.at,
                element,
                datatype: self.datatype,
            }
        } else {
            self.wrong(element, "an integer")
        })
    }

    fn float<T: FromStr + Into<f64> + Copy>(&self, token: &str, element: usize) -> Result<T, Reason> {
        // JSON's numbers are a subset of what `FromStr` reads; the words that it also reads (`inf`) are excluded here.
        if !is_number(token) {
            return Err(self.wrong(element, "a number"));
        }
        match token.parse::<T>() {
            Ok(value) if value.into().is_finite() => Ok(value),
            Ok(_) | Err(_) => Err(Reason::OutOfRange {
                at: self.at,
                element,
                datatype: self.datatype,
            }),
        }
    }

    fn bytes(&self, token: &str, element: usize) -> Result<Vec<u8>, Reason> {
        let quoted = token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let inner = quoted.ok_or_else(|| self.wrong(element, "a string"))?;
        let text = if inner.contains('\\') {
            // Escapes of lone surrogates pass the grammar but are no text.
            serde_json::from_str(token).map_err(|_| self.wrong(element, "a string of Unicode text"))?
        } else {
            inner.to_owned()
        };
        if text.len() > self.max_element_bytes {
            return Err(Reason::TooLong {
                at: self.at,
                what: "an element",
                limit: self.max_element_bytes,
            });
        }
        Ok(text.into_bytes())
    }

    fn wrong(&self, element: usize, expected: &'static str) -> Reason {
        Reason::WrongElement {
            at: self.at,
            element,
            expected,
            datatype: self.datatype,
        }
    }
}

fn is_number(token: &str) -> bool {
    token
        .bytes()
        .next()
        .is_some_and(|byte| byte == b'-' || byte.is_ascii_digit())
}

/// One way through the lists of `data`.
struct Walk<'a, T, E> {
    declared: &'a Declared<'a>,
    scan: Scanner<'a>,
    element: E,
    read: Vec<T>,
}

impl<T, E: Fn(&str, usize) -> Result<T, Reason>> Walk<'_, T, E> {
    /// What follows a `[`: lists in lists, no deeper than the shape, whose length is bounded.
    fn nested(&mut self, dimensions: &[u64]) -> Result<(), Reason> {
        let wrong = Reason::WrongNesting { at: self.declared.at };
        let Some((&extent, inner)) = dimensions.split_first() else {
            return Err(wrong);
        };
        let Ok(extent) = usize::try_from(extent) else {
            return Err(wrong);
        };
        if inner.is_empty() {
            return self.list(extent);
        }
        let mut found = 0;
        if !self.scan.take(b']') {
            loop {
                if found == extent || !self.scan.take(b'[') {
                    return Err(wrong);
                }
                self.nested(inner)?;
                found += 1;
                if !self.scan.take(b',') {
                    break;
                }
            }
            self.scan.take(b']');
        }
        if found == extent { Ok(()) } else { Err(wrong) }
    }

    /// What follows a `[`: exactly `expected` elements.
    fn list(&mut self, expected: usize) -> Result<(), Reason> {
        let wrong = Reason::WrongCount {
            at: self.declared.at,
            expected: self.declared.count,
        };
        let mut found = 0;
        if !self.scan.take(b']') {
            loop {
                if matches!(self.scan.peek(), Some(b'[' | b'{')) {
                    return Err(Reason::WrongNesting { at: self.declared.at });
                }
                if found == expected {
                    return Err(wrong);
                }
                self.read
                    .push((self.element)(self.scan.token(), self.read.len())?);
                found += 1;
                if !self.scan.take(b',') {
                    break;
                }
            }
            self.scan.take(b']');
        }
        if found == expected { Ok(()) } else { Err(wrong) }
    }
}

/// A position in JSON whose grammar has been checked.
struct Scanner<'a> {
    json: &'a str,
    position: usize,
}

impl<'a> Scanner<'a> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.json.as_bytes();
        while let Some(&byte) = bytes.get(self.position) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.position += 1;
        }
        None
    }

    /// Steps over `byte` if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.position += usize::from(next);
        next
    }

    /// A scalar, as it is written.
    fn token(&mut self) -> &'a str {
        let string = self.peek() == Some(b'"');
        let start = self.position;
        let rest = self.json.as_bytes().get(start..).unwrap_or_default();
        let length = if string {
            string_length(rest)
        } else {
            plain_length(rest)
        };
        self.position = start + length;
        // Both ends are ASCII bytes or the end of the text, so the range is on character boundaries.
        self.json.get(start..self.position).unwrap_or_default()
    }
}

/// The bytes of a number, `true`, `false` or `null`.
fn plain_length(rest: &[u8]) -> usize {
    let ends = |byte: &u8| matches!(byte, b',' | b']' | b' ' | b'\t' | b'\n' | b'\r');
    rest.iter().position(ends).unwrap_or(rest.len())
}

/// The bytes of a string with both quotes.
fn string_length(rest: &[u8]) -> usize {
    let mut escaped = false;
    for (position, &byte) in rest.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return position + 1,
            _ => {}
        }
    }
    rest.len()
}
