//! One tensor element from its JSON token.
//!
//! A number is seen as its text: FP32 is rounded once from the decimal, integers never pass through a float.

use std::str::FromStr;

use crate::WireType;
use crate::body_error::{Place, Reason};

/// What is known of the tensor whose elements are read.
#[derive(Clone, Copy)]
pub(crate) struct Element {
    pub(crate) at: Place,
    pub(crate) datatype: WireType,
    pub(crate) max_element_bytes: usize,
}

impl Element {
    pub(crate) fn boolean(&self, token: &str, element: usize) -> Result<bool, Reason> {
        match token {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong(element, "true or false")),
        }
    }

    pub(crate) fn integer<T: FromStr>(&self, token: &str, element: usize) -> Result<T, Reason> {
        // Some writers say -0, which `FromStr` of unsigned types does not read.
        if let Ok(value) = if token == "-0" { "0" } else { token }.parse() {
            return Ok(value);
        }
        let digits = token.strip_prefix('-').unwrap_or(token);
        let integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
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

    pub(crate) fn float<T: FromStr + Into<f64> + Copy>(
        &self,
        token: &str,
        element: usize,
    ) -> Result<T, Reason> {
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

    pub(crate) fn bytes(&self, token: &str, element: usize) -> Result<Vec<u8>, Reason> {
        let quoted = token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let inner = quoted.ok_or_else(|| self.wrong(element, "a string"))?;
        let text = if inner.contains('\\') {
            // Escapes of lone surrogates pass the grammar but are no text.
            serde_json::from_str(token).map_err(|_| self.wrong(element, "a string of Unicode text"))?
        } else {
            inner.to_owned()
        };
        self.bounded(text.into_bytes())
    }

    pub(crate) fn bounded(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Reason> {
        if bytes.len() > self.max_element_bytes {
            return Err(Reason::TooLong {
                at: self.at,
                what: "an element",
                limit: self.max_element_bytes,
            });
        }
        Ok(bytes)
    }

    pub(crate) fn wrong(&self, element: usize, expected: &'static str) -> Reason {
        Reason::WrongElement {
            at: self.at,
            element,
            expected,
            datatype: self.datatype,
        }
    }

    pub(crate) const fn half_precision(&self) -> Reason {
        Reason::HalfPrecision {
            at: self.at,
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
