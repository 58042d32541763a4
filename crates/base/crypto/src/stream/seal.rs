//! Writing a sealed file.
//!
//! A segment can be sealed only when it is known whether more follows. So a full segment waits in the buffer until
//! the next byte or the end; long writes are sealed straight from the caller's bytes, without a copy.

use std::{
    fmt,
    io::{self, Write},
};

use aws_lc_rs::{
    aead::{Aad, LessSafeKey, Nonce},
    error::Unspecified,
};
use zeroize::Zeroizing;

use super::layout::{BODY_LEN, FIRST_BODY_LEN, Header, SEGMENT_LEN};
use crate::{
    aead::{DataKey, SealFailed, TAG_LEN},
    random::random_array,
};

/// Seals what is written to it. Without [`SealWriter::finish`] the file has no last segment and does not open.
pub struct SealWriter<W: Write> {
    inner: W,
    key: LessSafeKey,
    header: Header,
    next: u32,
    /// One segment; the first `filled` bytes are plaintext that waits, and are sealed in place.
    // INVARIANT: SEGMENT_LEN long, and `filled` is at most `body_len()` between calls.
    buffer: Zeroizing<Vec<u8>>,
    filled: usize,
    /// Set while a segment is on its way out, and for good when that failed.
    failed: bool,
}

impl<W: Write> SealWriter<W> {
    /// Starts a sealed file under `key`; the header is written with the first segment.
    pub fn new(inner: W, key: &DataKey, associated_data: &[u8]) -> Result<Self, SealFailed> {
        let header = Header {
            salt: random_array()?,
            prefix: random_array()?,
        };
        Self::with_header(inner, key, associated_data, header)
    }

    pub(crate) fn with_header(
        inner: W,
        key: &DataKey,
        associated_data: &[u8],
        header: Header,
    ) -> Result<Self, SealFailed> {
        let key = header.segment_key(key, associated_data).map_err(|_| SealFailed)?;
        let buffer = Zeroizing::new(vec![0; SEGMENT_LEN]);
        Ok(Self {
            inner,
            key,
            header,
            next: 0,
            buffer,
            filled: 0,
            failed: false,
        })
    }

    /// Seals the last segment, flushes, and gives the inner writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal_buffer(true)?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn body_len(&self) -> usize {
        if self.next == 0 { FIRST_BODY_LEN } else { BODY_LEN }
    }

    /// Seals what waits in the buffer.
    fn seal_buffer(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.start_segment(last)?;
        let (body, rest) = self.buffer.split_at_mut(self.filled);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), body)
            .map_err(sealing)?;
        rest.first_chunk_mut::<TAG_LEN>()
            .ok_or_else(|| sealing(Unspecified))?
            .copy_from_slice(tag.as_ref());
        self.write_segment(self.filled + TAG_LEN)
    }

    /// Seals a whole segment that is not the last from the caller's bytes.
    fn seal_from(&mut self, body: &[u8]) -> io::Result<()> {
        let nonce = self.start_segment(false)?;
        let (ciphertext, rest) = self.buffer.split_at_mut(body.len());
        let tag = rest
            .first_chunk_mut::<TAG_LEN>()
            .ok_or_else(|| sealing(Unspecified))?;
        self.key
            .seal_out_of_place_scatter(nonce, Aad::empty(), body, ciphertext, &[], tag)
            .map_err(sealing)?;
        self.write_segment(body.len() + TAG_LEN)
    }

    fn start_segment(&mut self, last: bool) -> io::Result<Nonce> {
        self.check()?;
        self.failed = true;
        let segment = self.next;
        self.next = segment
            .checked_add(1)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if segment == 0 {
            self.inner.write_all(&self.header.to_bytes())?;
        }
        Ok(self.header.nonce(segment, last))
    }

    fn write_segment(&mut self, len: usize) -> io::Result<()> {
        self.inner.write_all(self.buffer.split_at(len).0)?;
        self.filled = 0;
        self.failed = false;
        Ok(())
    }

    /// After a failed write part of a segment may be out; a second try would use its nonce again or lose its place.
    fn check(&self) -> io::Result<()> {
        if self.failed {
            Err(sealing(Unspecified))
        } else {
            Ok(())
        }
    }
}

fn sealing(_: Unspecified) -> io::Error {
    io::Error::other(SealFailed)
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check()?;
        if data.is_empty() {
            return Ok(0);
        }
        if self.filled == self.body_len() {
            self.seal_buffer(false)?;
        }
        let body_len = self.body_len();
        if self.filled == 0 && data.len() > body_len {
            self.seal_from(data.split_at(body_len).0)?;
            return Ok(body_len);
        }
        let taken = data.len().min(body_len - self.filled);
        let (_, free) = self.buffer.split_at_mut(self.filled);
        free.split_at_mut(taken).0.copy_from_slice(data.split_at(taken).0);
        self.filled += taken;
        Ok(taken)
    }

    /// Does not seal what waits in the buffer: only [`SealWriter::finish`] knows the last segment.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> fmt::Debug for SealWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealWriter")
            .field("segments", &self.next)
            .finish_non_exhaustive()
    }
}
