//! Where segments lie, and how their key and nonces are made.
//!
//! ```text
//! file    = header || segment 0 || segment 1 || ...
//! header  = 40 (one byte) || salt (32) || nonce prefix (7)
//! segment = ciphertext || tag (16); 1,048,576 bytes each, the first shorter by the header, the last as long as it is
//! key     = HKDF-SHA-256(data key, salt, info = associated data), 32 bytes
//! nonce   = nonce prefix || segment number (u32, big endian) || 1 if last, else 0
//! ```

use aws_lc_rs::aead::{LessSafeKey, Nonce};
use zeroize::Zeroizing;

use crate::aead::{DataKey, KEY_LEN, NONCE_LEN, TAG_LEN, derive, gcm_key};

pub(crate) const SALT_LEN: usize = 32;
pub(crate) const PREFIX_LEN: usize = 7;
pub(crate) const HEADER_LEN: usize = 1 + SALT_LEN + PREFIX_LEN;
/// The first byte of the file is the header's length.
const HEADER_LEN_BYTE: u8 = 40;
/// Length of a full segment with its tag, and of header and first segment together.
pub(crate) const SEGMENT_LEN: usize = 1 << 20;
pub(crate) const BODY_LEN: usize = SEGMENT_LEN - TAG_LEN;
pub(crate) const FIRST_BODY_LEN: usize = BODY_LEN - HEADER_LEN;
/// Segment numbers are 32 bits wide; the last number is left unused, as Tink leaves it.
const SEGMENTS_MAX: u64 = u32::MAX as u64;

/// The header of a sealed file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) salt: [u8; SALT_LEN],
    pub(crate) prefix: [u8; PREFIX_LEN],
}

impl Header {
    pub(crate) fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let (&length, rest) = bytes.split_first()?;
        if length != HEADER_LEN_BYTE {
            return None;
        }
        let (&salt, rest) = rest.split_first_chunk()?;
        let &prefix = rest.first_chunk()?;
        Some(Self { salt, prefix })
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [HEADER_LEN_BYTE; HEADER_LEN];
        bytes[1..=SALT_LEN].copy_from_slice(&self.salt);
        bytes[1 + SALT_LEN..].copy_from_slice(&self.prefix);
        bytes
    }

    pub(crate) fn segment_key(
        &self,
        key: &DataKey,
        associated_data: &[u8],
    ) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
        let mut derived = Zeroizing::new([0; KEY_LEN]);
        derive(
            key.as_bytes(),
            &self.salt,
            associated_data,
            derived.as_mut_slice(),
        )?;
        gcm_key(derived.as_slice())
    }

    pub(crate) fn nonce(&self, segment: u32, last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..PREFIX_LEN].copy_from_slice(&self.prefix);
        nonce[PREFIX_LEN..NONCE_LEN - 1].copy_from_slice(&segment.to_be_bytes());
        nonce[NONCE_LEN - 1] = u8::from(last);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// One segment's place in the file and in the plaintext.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) last: bool,
    /// Offset of the ciphertext in the file.
    pub(crate) sealed_at: u64,
    /// Offset of the plaintext in the whole plaintext.
    pub(crate) plain_at: u64,
    /// Length of the plaintext; ciphertext and tag are 16 bytes longer.
    pub(crate) len: usize,
}

/// The segments of a file of known length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Layout {
    sealed_len: u64,
    segments: u64,
}

impl Layout {
    /// `None` when no sealed file has this length.
    pub(crate) fn of(sealed_len: u64) -> Option<Self> {
        let segments = sealed_len.div_ceil(SEGMENT_LEN as u64);
        let last_starts = segments.checked_sub(1)? * SEGMENT_LEN as u64;
        // Only the first segment may be empty: a plaintext has one layout.
        let shortest = if segments == 1 {
            HEADER_LEN + TAG_LEN
        } else {
            TAG_LEN + 1
        };
        let fits = sealed_len - last_starts >= shortest as u64 && segments <= SEGMENTS_MAX;
        fits.then_some(Self { sealed_len, segments })
    }

    pub(crate) fn plaintext_len(&self) -> u64 {
        self.sealed_len - HEADER_LEN as u64 - self.segments * TAG_LEN as u64
    }

    pub(crate) fn last(&self) -> Option<Segment> {
        self.segment(self.segments.checked_sub(1)?)
    }

    /// The segment that holds the plaintext byte at `offset`; `None` at the end.
    pub(crate) fn holding(&self, offset: u64) -> Option<Segment> {
        if offset >= self.plaintext_len() {
            return None;
        }
        self.segment((offset + HEADER_LEN as u64) / BODY_LEN as u64)
    }

    fn segment(&self, index: u64) -> Option<Segment> {
        let last = index + 1 == self.segments;
        let starts = index * SEGMENT_LEN as u64;
        let ends = if last {
            self.sealed_len
        } else {
            starts + SEGMENT_LEN as u64
        };
        let sealed_at = if index == 0 { HEADER_LEN as u64 } else { starts };
        let len = usize::try_from(ends - sealed_at).ok()?.checked_sub(TAG_LEN)?;
        let plain_at = (index * BODY_LEN as u64).saturating_sub(HEADER_LEN as u64);
        Some(Segment {
            number: u32::try_from(index).ok()?,
            last,
            sealed_at,
            plain_at,
            len,
        })
    }
}

/// The length of the sealed file for a plaintext of this length (at most 2^52 - 2^20 bytes can be sealed).
pub fn sealed_len(plaintext_len: u64) -> u64 {
    let segments = plaintext_len
        .saturating_add(HEADER_LEN as u64)
        .div_ceil(BODY_LEN as u64)
        .max(1);
    plaintext_len
        .saturating_add(HEADER_LEN as u64)
        .saturating_add(segments.saturating_mul(TAG_LEN as u64))
}

/// Fuzz entry: must not panic. Opens `data` as a sealed file and reads it whole.
pub fn fuzz_stream_header(data: &[u8]) {
    use std::io::Read;

    let key = DataKey::from_bytes([7; KEY_LEN]);
    if let Ok(mut reader) = super::OpenReader::new(data, &key, b"fuzz") {
        let mut plaintext = Vec::new();
        let read = reader.read_to_end(&mut plaintext);
        assert!(read.is_err() || plaintext.len() as u64 == reader.plaintext_len());
    }
    if let Some(layout) = Layout::of(data.len() as u64) {
        assert!(
            layout
                .last()
                .is_some_and(|last| last.plain_at + last.len as u64 == layout.plaintext_len())
        );
    }
}
