//! Moving a file through a hash and a cipher at the speed of the slower one, in bounded memory.
//!
//! Hashing runs on a second thread, so that sealing and opening cost the larger of the two and not their sum. A few
//! buffers go round between the threads, whatever the file's length.

use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use stockade_crypto::{Blake3, OpenError, OpenReader, ReadAt, Sha256};
use stockade_evidence::{Digest, DigestAlgorithm};

const BUFFER: usize = 1 << 20;
const BUFFERS: usize = 6;
/// What is read at a time, so that it is hashed while it lies in the nearest cache.
const PIECE: usize = 128 << 10;

/// Either hash, in parts.
enum Hash {
    Sha256(Sha256),
    Blake3(Blake3),
}

impl Hash {
    fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
            DigestAlgorithm::Blake3 => Self::Blake3(Blake3::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Blake3(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::new(DigestAlgorithm::Sha256, hash.finish()),
            Self::Blake3(hash) => Digest::new(DigestAlgorithm::Blake3, hash.finish()),
        }
    }
}

struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
}

impl Buffer {
    fn content(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

/// Reads `source` to its end on a second thread that hashes, and gives each part to `sink` in order. Returns the
/// digest and the length.
pub(crate) fn hash_and_feed(
    mut source: impl Read + Send,
    algorithm: DigestAlgorithm,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(Digest, u64)> {
    thread::scope(|scope| {
        let (full_in, full_out) = sync_channel::<Buffer>(BUFFERS);
        let (free_in, free_out) = free_buffers()?;
        let reading = scope.spawn(move || {
            let (mut hash, mut length) = (Hash::new(algorithm), 0_u64);
            while let Ok(mut buffer) = free_out.recv() {
                buffer.filled = fill(&mut source, &mut buffer.bytes, &mut hash)?;
                if buffer.filled == 0 {
                    break;
                }
                length = length.saturating_add(buffer.filled as u64);
                if full_in.send(buffer).is_err() {
                    break;
                }
            }
            Ok::<_, io::Error>((hash.finish(), length))
        });
        let mut fed = Ok(());
        for buffer in full_out {
            fed = sink(buffer.content());
            if fed.is_err() {
                break;
            }
            let _ = free_in.send(buffer);
        }
        drop(free_in);
        let read = reading
            .join()
            .map_err(|_| io::Error::other("the reading thread panicked"))?;
        fed?;
        read
    })
}

/// Why a sealed file was not copied out.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// The blob does not open.
    Open(OpenError),
    /// What it opens to is not what the manifest says.
    Digest,
    /// The sink failed.
    Sink(io::Error),
}

/// Opens a sealed file from its start to its end, gives each part to `sink` in order, and checks length and digest. Nothing that
/// `sink` was given may be released unless this succeeds.
pub(crate) fn open_and_check<R: ReadAt>(
    reader: &OpenReader<R>,
    size: u64,
    expected: Digest,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), CopyError> {
    if reader.plaintext_len() != size {
        return Err(CopyError::Digest);
    }
    thread::scope(|scope| {
        let (full_in, full_out) = sync_channel::<Buffer>(BUFFERS);
        let (free_in, free_out) = free_buffers().map_err(CopyError::Sink)?;
        let hashing = scope.spawn(move || {
            let mut hash = Hash::new(expected.algorithm());
            for buffer in full_out {
                hash.update(buffer.content());
                let _ = free_in.send(buffer);
            }
            hash.finish()
        });
        let mut offset = 0_u64;
        while offset < size {
            let mut buffer = free_out.recv().map_err(|_| CopyError::Digest)?;
            let wanted = buffer
                .bytes
                .get_mut(..rest_of_segment(offset))
                .unwrap_or_default();
            buffer.filled = reader.read_at(wanted, offset).map_err(CopyError::Open)?;
            if buffer.filled == 0 {
                return Err(CopyError::Digest);
            }
            offset = offset.saturating_add(buffer.filled as u64);
            sink(buffer.content()).map_err(CopyError::Sink)?;
            full_in.send(buffer).map_err(|_| CopyError::Digest)?;
        }
        drop(full_in);
        let found = hashing.join().map_err(|_| CopyError::Digest)?;
        (found == expected).then_some(()).ok_or(CopyError::Digest)
    })
}

/// How much plaintext lies between `offset` and the end of its segment: a whole segment opens without a copy.
// Tink AES256_GCM_HKDF_1MB: segments of 1 MiB with a tag of 16 bytes each, the first after a header of 40.
const fn rest_of_segment(offset: u64) -> usize {
    const HEADER: u64 = 40;
    const BODY: u64 = BUFFER as u64 - 16;
    #[expect(clippy::cast_possible_truncation, reason = "at most BODY")]
    let rest = (BODY - (offset + HEADER) % BODY) as usize;
    rest
}

fn free_buffers() -> io::Result<(SyncSender<Buffer>, Receiver<Buffer>)> {
    let (free_in, free_out) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        let buffer = Buffer {
            bytes: vec![0; BUFFER],
            filled: 0,
        };
        free_in.try_send(buffer).map_err(io::Error::other)?;
    }
    Ok((free_in, free_out))
}

/// Reads and hashes until `buf` is full or the source ends.
fn fill(source: &mut impl Read, buf: &mut [u8], hash: &mut Hash) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let piece = rest.len().min(PIECE);
        let (piece, _) = rest.split_at_mut(piece);
        match source.read(piece) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(piece.get(..read).unwrap_or_default());
                filled += read;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use stockade_crypto::{DataKey, SealWriter};

    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length)
            .map(|place| ((place * 31) >> 3).to_le_bytes()[0])
            .collect()
    }

    fn digest(algorithm: DigestAlgorithm, bytes: &[u8]) -> Digest {
        match algorithm {
            DigestAlgorithm::Sha256 => Digest::sha256(bytes),
            DigestAlgorithm::Blake3 => Digest::blake3(bytes),
        }
    }

    #[test]
    fn what_is_sealed_comes_out_at_every_length() {
        let key = DataKey::from_bytes([7; 32]);
        let segment = 1 << 20;
        for length in [
            0,
            1,
            segment - 57,
            segment - 56,
            segment - 55,
            segment,
            2 * segment - 72,
            7 * segment + 5,
        ] {
            for algorithm in [DigestAlgorithm::Sha256, DigestAlgorithm::Blake3] {
                let plaintext = content(length);
                let mut sealed = SealWriter::new(Vec::new(), &key, b"here").unwrap();
                let sink = |part: &[u8]| io::Write::write_all(&mut sealed, part);
                let (found, size) = hash_and_feed(&*plaintext, algorithm, sink).unwrap();
                assert_eq!((found, size), (digest(algorithm, &plaintext), length as u64));
                let reader = OpenReader::new(sealed.finish().unwrap(), &key, b"here").unwrap();
                let mut opened = Vec::new();
                let sink = |part: &[u8]| {
                    opened.extend_from_slice(part);
                    Ok(())
                };
                open_and_check(&reader, size, found, sink).unwrap();
                assert!(opened == plaintext, "{length}");
            }
        }
    }

    #[test]
    fn another_digest_or_length_is_refused() {
        let key = DataKey::from_bytes([7; 32]);
        let mut sealed = SealWriter::new(Vec::new(), &key, b"").unwrap();
        io::Write::write_all(&mut sealed, b"model").unwrap();
        let reader = OpenReader::new(sealed.finish().unwrap(), &key, b"").unwrap();
        let check = |size, digest| open_and_check(&reader, size, digest, |_| Ok(()));
        assert!(check(5, Digest::sha256(b"model")).is_ok());
        assert!(matches!(
            check(5, Digest::sha256(b"other")),
            Err(CopyError::Digest)
        ));
        assert!(matches!(
            check(4, Digest::sha256(b"mode")),
            Err(CopyError::Digest)
        ));
    }

    #[test]
    fn a_failing_source_or_sink_ends_both_threads() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
        let found = hash_and_feed(Broken, DigestAlgorithm::Sha256, |_| Ok(())).unwrap_err();
        assert_eq!(found.kind(), io::ErrorKind::InvalidData);
        let full = |_: &[u8]| Err(io::ErrorKind::StorageFull.into());
        let found = hash_and_feed(io::repeat(0), DigestAlgorithm::Sha256, full).unwrap_err();
        assert_eq!(found.kind(), io::ErrorKind::StorageFull);
    }
}
