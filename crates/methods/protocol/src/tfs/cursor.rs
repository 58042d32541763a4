//! A position in a JSON text that may hold `NaN`, `Infinity` and `-Infinity`, as this protocol allows.
//!
//! serde_json, like the JSON standard, reads none of the three. What is passed is checked against the grammar as it
//! is passed; nothing here calls itself.

use std::borrow::Cow;

use crate::body_error::{Place, Reason};

/// What stands for a number that is not finite.
pub(super) const WORDS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(body: &'a [u8]) -> Result<Self, Reason> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Self { text, position: 0 }),
            Err(error) => Err(malformed(body, error.valid_up_to())),
        }
    }

    /// The next byte that is no white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.as_bytes().get(self.position) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.position += 1;
        }
        None
    }

    /// Steps over `byte` if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.position += usize::from(next);
        next
    }

    /// Steps over `byte`, which must be next.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Reason> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// The text must end here.
    pub(super) fn end(&mut self) -> Result<(), Reason> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.malformed()),
        }
    }

    pub(super) fn malformed(&self) -> Reason {
        malformed(self.text.as_bytes(), self.position)
    }

    /// A string, number or word as it is written.
    pub(super) fn scalar(&mut self) -> Result<&'a str, Reason> {
        let first = self.peek();
        let rest = self.text.as_bytes().get(self.position..).unwrap_or_default();
        let length = match first {
            Some(b'"') => string_length(rest),
            Some(b'-' | b'0'..=b'9') => number_length(rest).or_else(|| word_length(rest)),
            _ => word_length(rest),
        };
        let end = self.position + length.ok_or_else(|| self.malformed())?;
        // Both ends are beside ASCII bytes, so the range is on character boundaries.
        let token = self.text.get(self.position..end).unwrap_or_default();
        self.position = end;
        Ok(token)
    }

    /// A string as it is written, with its quotes.
    pub(super) fn string(&mut self, at: Place) -> Result<&'a str, Reason> {
        if self.peek() == Some(b'"') {
            self.scalar()
        } else {
            let expected = "a string";
            Err(Reason::WrongType { at, expected })
        }
    }

    /// A bounded string.
    pub(super) fn text(
        &mut self,
        at: Place,
        what: &'static str,
        limit: usize,
    ) -> Result<Cow<'a, str>, Reason> {
        let token = self.string(at)?;
        let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
        let text = if inner.contains('\\') {
            // Escapes of lone surrogates pass the grammar but are no text.
            Cow::Owned(serde_json::from_str(token).map_err(|_| self.malformed())?)
        } else {
            Cow::Borrowed(inner)
        };
        if text.len() > limit {
            return Err(Reason::TooLong { at, what, limit });
        }
        Ok(text)
    }

    /// A key of an object and the colon after it.
    pub(super) fn key(&mut self, at: Place, limit: usize) -> Result<Cow<'a, str>, Reason> {
        if self.peek() != Some(b'"') {
            return Err(self.malformed());
        }
        let key = self.text(at, "a key", limit)?;
        self.expect(b':')?;
        Ok(key)
    }

    /// Steps over a value that is not known here.
    pub(super) fn pass_over(&mut self, at: Place, limit: usize) -> Result<(), Reason> {
        // The closing byte of each list and object that is open.
        let mut open: Vec<u8> = Vec::new();
        loop {
            let closing = match self.peek() {
                Some(b'[') => Some(b']'),
                Some(b'{') => Some(b'}'),
                _ => None,
            };
            if let Some(closing) = closing {
                self.position += 1;
                if open.len() == limit {
                    return Err(Reason::TooDeep { at, limit });
                }
                if !self.take(closing) {
                    open.push(closing);
                    self.key_if_in_object(&open)?;
                    continue;
                }
            } else {
                self.scalar()?;
            }
            while let Some(&closing) = open.last() {
                if self.take(b',') {
                    break;
                }
                self.expect(closing)?;
                open.pop();
            }
            if open.is_empty() {
                return Ok(());
            }
            self.key_if_in_object(&open)?;
        }
    }

    fn key_if_in_object(&mut self, open: &[u8]) -> Result<(), Reason> {
        if open.last() != Some(&b'}') {
            return Ok(());
        }
        if self.peek() != Some(b'"') {
            return Err(self.malformed());
        }
        self.scalar()?;
        self.expect(b':')
    }
}

fn malformed(body: &[u8], position: usize) -> Reason {
    let before = body.get(..position).unwrap_or(body);
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|&&byte| byte != b'\n').count();
    Reason::Malformed { line, column }
}

/// The bytes of a string with both quotes.
fn string_length(rest: &[u8]) -> Option<usize> {
    let mut bytes = rest.iter().enumerate().skip(1);
    while let Some((position, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some(position + 1),
            b'\\' => match bytes.next()?.1 {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => {
                    for _ in 0..4 {
                        bytes.next().filter(|(_, digit)| digit.is_ascii_hexdigit())?;
                    }
                }
                _ => return None,
            },
            0..0x20 => return None,
            _ => {}
        }
    }
    None
}

/// The bytes of a number (RFC 8259 section 6).
fn number_length(rest: &[u8]) -> Option<usize> {
    let mut length = usize::from(rest.first() == Some(&b'-'));
    length = match rest.get(length) {
        Some(b'0') => length + 1,
        _ => digits(rest, length)?,
    };
    if rest.get(length) == Some(&b'.') {
        length = digits(rest, length + 1)?;
    }
    if matches!(rest.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(length + 1), Some(b'+' | b'-')));
        length = digits(rest, length + 1 + sign)?;
    }
    Some(length)
}

/// Where the digits from `start` end; there must be one.
fn digits(rest: &[u8], start: usize) -> Option<usize> {
    let count = rest
        .iter()
        .skip(start)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    (count > 0).then_some(start + count)
}

fn word_length(rest: &[u8]) -> Option<usize> {
    let words = ["true", "false", "null"].iter().chain(&WORDS);
    words
        .map(|word| word.as_bytes())
        .find(|word| rest.starts_with(word))
        .map(<[u8]>::len)
}
