//! Reading a sealed file, in order or at any offset, from one thread or several.
//!
//! Opening checks the last segment first, so that the length is true and a cut file, a wrong key or a wrong name is
//! refused before a byte comes out. A read touches the segments that it overlaps and no others.

use std::{
    fmt,
    io::{self, Read, Seek, SeekFrom},
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::aead::{Aad, LessSafeKey};
use zeroize::Zeroizing;

use super::{
    layout::{HEADER_LEN, Header, Layout, Segment},
    read_at::{ReadAt, read_exact_at},
};
use crate::aead::{DataKey, TAG_LEN};

/// How many segment buffers are kept between reads; more readers than this allocate their own.
const KEPT_BUFFERS: usize = 8;

/// Opens a sealed file.
pub struct OpenReader<R: ReadAt> {
    inner: R,
    key: LessSafeKey,
    header: Header,
    layout: Layout,
    position: u64,
    buffers: Mutex<Vec<SegmentBuffer>>,
}

impl<R: ReadAt> OpenReader<R> {
    /// Reads the header and checks the last segment under `key` and `associated_data`.
    pub fn new(inner: R, key: &DataKey, associated_data: &[u8]) -> Result<Self, OpenError> {
        let layout = Layout::of(inner.len()?).ok_or(OpenError::NotSealed)?;
        let mut header = [0; HEADER_LEN];
        read_exact_at(&inner, &mut header, 0)?;
        let header = Header::parse(&header).ok_or(OpenError::NotSealed)?;
        let key = header
            .segment_key(key, associated_data)
            .map_err(|_| OpenError::NotSealed)?;
        let reader = Self {
            inner,
            key,
            header,
            layout,
            position: 0,
            buffers: Mutex::new(Vec::new()),
        };
        let mut buffer = SegmentBuffer::default();
        reader.load(&mut buffer, layout.last().ok_or(OpenError::NotSealed)?)?;
        reader.give(buffer);
        Ok(reader)
    }

    /// The length of the plaintext, authenticated.
    pub fn plaintext_len(&self) -> u64 {
        self.layout.plaintext_len()
    }

    /// Reads plaintext at `offset` until `buf` is full or the plaintext ends; returns how much that was.
    /// On an error `buf` holds no unauthenticated byte.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, OpenError> {
        let mut buffer = None;
        let result = self.fill(buf, offset, &mut buffer);
        if result.is_err() {
            buf.fill(0);
        }
        if let Some(buffer) = buffer {
            self.give(buffer);
        }
        result
    }

    fn fill(
        &self,
        mut buf: &mut [u8],
        offset: u64,
        kept: &mut Option<SegmentBuffer>,
    ) -> Result<usize, OpenError> {
        let mut read = 0;
        while !buf.is_empty() {
            let at = offset.saturating_add(read as u64);
            let Some(segment) = self.layout.holding(at) else {
                break;
            };
            let buffer = kept.get_or_insert_with(|| self.take(segment.number));
            let skip = usize::try_from(at - segment.plain_at).unwrap_or(usize::MAX);
            let wanted = segment.len.saturating_sub(skip).min(buf.len());
            let (now, later) = buf.split_at_mut(wanted);
            if wanted == segment.len && !buffer.holds(segment) {
                self.open_into(now, buffer, segment)?;
            } else {
                self.load(buffer, segment)?;
                now.copy_from_slice(buffer.plaintext(skip, wanted).ok_or(OpenError::NotSealed)?);
            }
            read += wanted;
            buf = later;
        }
        Ok(read)
    }

    /// Opens a whole segment straight into the caller's bytes.
    fn open_into(
        &self,
        out: &mut [u8],
        buffer: &mut SegmentBuffer,
        segment: Segment,
    ) -> Result<(), OpenError> {
        let (ciphertext, tag) = self.read_segment(buffer, segment)?;
        let nonce = self.header.nonce(segment.number, segment.last);
        self.key
            .open_separate_gather(nonce, Aad::empty(), ciphertext, tag, out)
            .map_err(|_| OpenError::Changed {
                segment: segment.number,
            })
    }

    /// Opens a segment in the buffer, for parts of it.
    fn load(&self, buffer: &mut SegmentBuffer, segment: Segment) -> Result<(), OpenError> {
        if buffer.holds(segment) {
            return Ok(());
        }
        let nonce = self.header.nonce(segment.number, segment.last);
        let (ciphertext, tag) = self.read_segment(buffer, segment)?;
        self.key
            .open_in_place_separate_tag(nonce, Aad::empty(), tag, ciphertext)
            .map_err(|_| OpenError::Changed {
                segment: segment.number,
            })?;
        buffer.number = Some(segment.number);
        Ok(())
    }

    fn read_segment<'b>(
        &self,
        buffer: &'b mut SegmentBuffer,
        segment: Segment,
    ) -> Result<(&'b mut [u8], &'b [u8]), OpenError> {
        buffer.number = None;
        buffer.bytes.resize(segment.len + TAG_LEN, 0);
        read_exact_at(&self.inner, &mut buffer.bytes, segment.sealed_at)?;
        let (ciphertext, tag) = buffer.bytes.split_at_mut(segment.len);
        Ok((ciphertext, tag))
    }

    /// A kept buffer, best the one that holds this segment.
    fn take(&self, segment: u32) -> SegmentBuffer {
        let mut kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.iter().position(|buffer| buffer.number == Some(segment)) {
            Some(index) => kept.swap_remove(index),
            None => kept.pop().unwrap_or_default(),
        }
    }

    fn give(&self, buffer: SegmentBuffer) {
        let mut kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_BUFFERS {
            kept.push(buffer);
        }
    }
}

impl<R: ReadAt> Read for OpenReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(buf, self.position).map_err(io::Error::from)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: ReadAt> Seek for OpenReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.plaintext_len().checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl<R: ReadAt> fmt::Debug for OpenReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenReader")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// The ciphertext of one segment, or its plaintext when `number` says which.
#[derive(Default)]
struct SegmentBuffer {
    number: Option<u32>,
    bytes: Zeroizing<Vec<u8>>,
}

impl SegmentBuffer {
    fn holds(&self, segment: Segment) -> bool {
        self.number == Some(segment.number)
    }

    fn plaintext(&self, skip: usize, len: usize) -> Option<&[u8]> {
        let body = self.bytes.len().checked_sub(TAG_LEN)?;
        self.bytes.get(..body)?.get(skip..skip.checked_add(len)?)
    }
}

/// Why a sealed file does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file's length or header is not that of a sealed file.
    #[error("this is not a sealed file, or it was cut")]
    NotSealed,
    /// A segment does not authenticate.
    #[error(
        "segment {segment} of the sealed file was changed, cut or moved, or the file belongs to another key or name"
    )]
    Changed {
        /// Which segment, counted from 0.
        segment: u32,
    },
    /// The file could not be read.
    #[error("the sealed file could not be read")]
    Io(#[from] io::Error),
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => error,
            OpenError::NotSealed | OpenError::Changed { .. } => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
