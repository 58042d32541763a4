//! Content codings (RFC 9110 section 8.4): bodies that come compressed, and answers that may go so.
//!
//! # Guarantee
//! A body grows by no more than its bounds, and each piece is counted against its principal's memory before the next is
//! made. One coding is read; a coding within a coding is refused.

use std::io::Read;

use bytes::Bytes;
use flate2::{
    Compression,
    bufread::{GzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use stockade_evidence::Control;
use stockade_protocol::ErrorCode;

use super::body::Buffered;
use crate::{answer::Refusal, config::Bodies};

/// How the messages of a call are compressed (gRPC over HTTP/2, "Requests").
pub(crate) const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// How much is made at a time.
const PIECE: usize = 64 << 10;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Deflate,
}

/// How far a body may grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    max_bytes: usize,
    max_ratio: usize,
}

impl Coding {
    /// The coding that the field `name` says, if any.
    pub(crate) fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Refusal> {
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let unsupported = || {
            let message = "a body may have one coding, `gzip` or `deflate`";
            Refusal::new(ErrorCode::UnsupportedMedia, Control::InputInspection, message).closing()
        };
        if values.next().is_some() {
            return Err(unsupported());
        }
        let is = |coding: &str| value.as_bytes().eq_ignore_ascii_case(coding.as_bytes());
        match () {
            () if is("identity") => Ok(None),
            () if is("gzip") => Ok(Some(Self::Gzip)),
            () if is("deflate") => Ok(Some(Self::Deflate)),
            () => Err(unsupported()),
        }
    }

    /// The coding of a body over HTTP.
    pub(crate) fn of_body(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        Self::of(headers, &CONTENT_ENCODING)
    }

    /// The first coding that a client names in `Accept-Encoding` without a weight of 0.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(ACCEPT_ENCODING).iter();
        let mut codings = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','));
        codings.find_map(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let zero = weight
                .trim()
                .strip_prefix("q=")
                .is_some_and(|q| q.trim_end_matches(['0', '.']).is_empty());
            match name.trim() {
                "gzip" if !zero => Some(Self::Gzip),
                "deflate" if !zero => Some(Self::Deflate),
                _ => None,
            }
        })
    }

    /// The name in header fields.
    pub(crate) const fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        })
    }

    /// Compresses an answer; none where that fails, which writing to memory does not.
    pub(crate) fn compress(self, bytes: &[u8]) -> Option<Vec<u8>> {
        use std::io::Write as _;
        let (room, level) = (Vec::with_capacity(bytes.len() / 4), Compression::fast());
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(room, level);
                encoder.write_all(bytes).ok()?;
                encoder.finish().ok()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(room, level);
                encoder.write_all(bytes).ok()?;
                encoder.finish().ok()
            }
        }
    }
}

impl Growth {
    pub(crate) fn new(bodies: &Bodies) -> Self {
        Self {
            max_bytes: bodies.max_bytes.get(),
            max_ratio: usize::try_from(bodies.max_compression_ratio.get()).unwrap_or(usize::MAX),
        }
    }
}

impl Buffered {
    /// The body as it was before it was compressed.
    pub(crate) fn inflated(mut self, coding: Coding, growth: Growth) -> Result<Self, Refusal> {
        let compressed = self.bytes.clone();
        let whole = match coding {
            Coding::Gzip => {
                let mut decoder = GzDecoder::new(&*compressed);
                let whole = self.inflate(&mut decoder, growth)?;
                decoder.into_inner().is_empty().then_some(whole)
            }
            Coding::Deflate => {
                let mut decoder = ZlibDecoder::new(&*compressed);
                let whole = self.inflate(&mut decoder, growth)?;
                decoder.into_inner().is_empty().then_some(whole)
            }
        };
        // Bytes behind the end would be read by some and not by others.
        self.bytes = whole.ok_or_else(broken)?;
        Ok(self)
    }

    fn inflate(&mut self, from: &mut impl Read, growth: Growth) -> Result<Bytes, Refusal> {
        let compressed = self.bytes.len();
        let most = growth
            .max_bytes
            .min(compressed.saturating_mul(growth.max_ratio).max(PIECE));
        let mut whole = Vec::new();
        loop {
            let before = whole.len();
            let piece = PIECE.min(most + 1 - before);
            self.memory.cover(compressed + before + piece)?;
            from.take(piece as u64)
                .read_to_end(&mut whole)
                .map_err(|_| broken())?;
            if whole.len() > most {
                return Err(too_large(growth, most));
            }
            if whole.len() == before {
                return Ok(whole.into());
            }
        }
    }
}

fn broken() -> Refusal {
    Refusal::invalid("the body cannot be decompressed")
}

fn too_large(growth: Growth, most: usize) -> Refusal {
    let message = if most == growth.max_bytes {
        format!("the body is larger than {most} bytes once it is decompressed")
    } else {
        format!(
            "the body grows more than {} times when it is decompressed",
            growth.max_ratio
        )
    };
    Refusal::new(ErrorCode::BodyTooLarge, Control::InputInspection, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phases::accept::BodyMemory;

    const GROWTH: Growth = Growth {
        max_bytes: 1 << 20,
        max_ratio: 20,
    };

    fn inflated(coding: Coding, bytes: Vec<u8>, memory: usize) -> Result<Bytes, Refusal> {
        let memory = BodyMemory::new(memory, memory).of(&"a".parse().unwrap());
        let body = Buffered {
            bytes: bytes.into(),
            memory,
        };
        body.inflated(coding, GROWTH).map(|body| body.bytes)
    }

    /// Bytes that hardly compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn what_was_compressed_comes_back() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 300_000, GROWTH.max_bytes] {
                let bytes = noise(length);
                let compressed = coding.compress(&bytes).unwrap();
                assert_eq!(
                    inflated(coding, compressed, 1 << 30).unwrap(),
                    bytes,
                    "{coding:?} {length}"
                );
            }
        }
    }

    #[test]
    fn attack_bombs_and_broken_bodies_are_refused_within_their_memory() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            let code = |bytes| inflated(coding, bytes, 4 << 20).unwrap_err().code;
            let large = coding.compress(&noise(GROWTH.max_bytes + 1)).unwrap();
            assert_eq!(code(large), ErrorCode::BodyTooLarge);
            let bomb = coding.compress(&vec![0; 1 << 20]).unwrap();
            assert!(bomb.len() * 100 < 1 << 20, "{}", bomb.len());
            assert_eq!(code(bomb), ErrorCode::BodyTooLarge);
            let good = coding.compress(b"abc").unwrap();
            assert_eq!(code(good[..good.len() - 1].to_vec()), ErrorCode::InvalidRequest);
            assert_eq!(code([&*good, b"x"].concat()), ErrorCode::InvalidRequest);
            assert_eq!(
                code(
                    coding
                        .compress(&good)
                        .map(|twice| [&*good, &*twice].concat())
                        .unwrap()
                ),
                ErrorCode::InvalidRequest
            );
            let wide = coding.compress(&noise(500_000)).unwrap();
            assert_eq!(
                inflated(coding, wide, 600 << 10).unwrap_err().code,
                ErrorCode::RateLimited
            );
        }
    }

    #[test]
    fn one_coding_is_read() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Coding::of_body(&headers).map_err(|refusal| refusal.code.status())
        };
        assert_eq!((of(&[]), of(&["identity"])), (Ok(None), Ok(None)));
        assert_eq!(of(&["GZip"]), Ok(Some(Coding::Gzip)));
        assert_eq!(of(&["deflate"]), Ok(Some(Coding::Deflate)));
        for wrong in [
            &["gzip, gzip"][..],
            &["gzip", "gzip"],
            &["br"],
            &["gzip,identity"],
            &[""],
        ] {
            assert_eq!(of(wrong), Err(415), "{wrong:?}");
        }
    }

    #[test]
    fn answers_are_compressed_for_who_asks() {
        let accepted = |value: &'static str| {
            Coding::accepted(&HeaderMap::from_iter([(
                ACCEPT_ENCODING,
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(accepted("gzip"), Some(Coding::Gzip));
        assert_eq!(accepted("br, deflate;q=0.5, gzip"), Some(Coding::Deflate));
        assert_eq!(accepted("gzip;q=0.0, deflate"), Some(Coding::Deflate));
        assert_eq!((accepted("identity"), accepted("*")), (None, None));
    }
}
