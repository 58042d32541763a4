//! Tensor elements: from a stretch of JSON straight into typed vectors.
//!
//! serde_json has already checked the stretch against the grammar and the body borrows it, so this reader may come
//! after `datatype` and `shape` wherever they stood, needs no tree of values, and sees each number as its text: FP32
//! is rounded once from the decimal, integers never pass through a float.
//!
//! INVARIANT: memory grows with the bytes that were sent, never with the shape that was claimed.

use crate::body_error::Reason;
use crate::element::Element;
use crate::{WireData, WireType};

/// What the reader knows of a tensor before it reads the elements.
pub(super) struct Declared<'a> {
    pub(super) element: Element,
    pub(super) shape: &'a [u64],
    /// The product of `shape`.
    pub(super) count: usize,
}

impl Declared<'_> {
    /// Reads `data`, flat or nested as the shape says.
    pub(super) fn read(&self, json: &str) -> Result<WireData, Reason> {
        let element = &self.element;
        Ok(match element.datatype {
            WireType::Bool => WireData::Bool(self.elements(json, |token, n| element.boolean(token, n))?),
            WireType::U8 => WireData::U8(self.elements(json, |token, n| element.integer(token, n))?),
            WireType::I8 => WireData::I8(self.elements(json, |token, n| element.integer(token, n))?),
            WireType::U16 => WireData::U16(self.elements(json, |token, n| element.integer(token, n))?),
            WireType::I16 => WireData::I16(self.elements(json, |token, n| element.integer(token, n))?),
            WireType::U32 => WireData::U32(self.elements(json, |token, n| element.integer(token, n))?),
            WireType::I32 => WireData::I32(self.elements(json, |token, n| element.integer(token, n))?),
            WireType::U64 => WireData::U64(self.elements(json, |token, n| element.integer(token, n))?),
            WireType::I64 => WireData::I64(self.elements(json, |token, n| element.integer(token, n))?),
            WireType::F32 => WireData::F32(self.elements(json, |token, n| element.float::<f32>(token, n))?),
            WireType::F64 => WireData::F64(self.elements(json, |token, n| element.float::<f64>(token, n))?),
            WireType::Bytes => WireData::Bytes(self.elements(json, |token, n| element.bytes(token, n))?),
            WireType::F16 | WireType::BF16 => {
                return Err(element.half_precision());
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
                at: self.element.at,
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
        let wrong = Reason::WrongNesting {
            at: self.declared.element.at,
        };
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
            at: self.declared.element.at,
            expected: self.declared.count,
        };
        let mut found = 0;
        if !self.scan.take(b']') {
            loop {
                if matches!(self.scan.peek(), Some(b'[' | b'{')) {
                    return Err(Reason::WrongNesting {
                        at: self.declared.element.at,
                    });
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
