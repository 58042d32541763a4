//! The journal thread: group commit. One write and one fdatasync make everything durable that waited for it.
//!
//! Segments are filled with zeros and synced before they are used, so that a commit changes no metadata and a header
//! that does not match its digest is one that was never used. The other thread prepares the next segment.

use std::{
    fmt, mem,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use stockade_crypto::{JournalKey, random_array};

use super::{
    error::AppendError,
    segment::{SECTOR, SegmentHeader, group_len},
    shared::{Failure, Queued, Retired, Shared},
};
use crate::disk::{Disk, DiskError, DiskFile, SyncPoint};

/// How much of a new segment is written at once.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Creates segments.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    origin: String,
    key: JournalKey,
    length: u64,
    next: AtomicU64,
}

/// A segment that groups are being written to.
pub(crate) struct OpenSegment {
    header: SegmentHeader,
    file: DiskFile,
    position: u64,
    length: u64,
}

impl fmt::Debug for OpenSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSegment")
            .field("path", &self.file.path())
            .finish_non_exhaustive()
    }
}

impl OpenSegment {
    const fn room(&self) -> u64 {
        self.length - self.position
    }
}

impl Segments {
    /// Segments of `length` bytes for `origin`, numbered from `next`.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        origin: String,
        key: JournalKey,
        length: u64,
        next: u64,
    ) -> Self {
        Self {
            disk,
            folder,
            origin,
            key,
            length,
            next: AtomicU64::new(next),
        }
    }

    /// Bytes of a segment.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// A new segment, durable and empty.
    pub(crate) fn create(&self) -> Result<OpenSegment, Failure> {
        let sequence = self.next.fetch_add(1, Ordering::SeqCst);
        let salt = random_array().map_err(|cause| Failure::Stop(cause.to_string()))?;
        let header = SegmentHeader {
            sequence,
            salt,
            origin: self.origin.clone(),
        };
        let path = self.folder.join(segment_name(sequence));
        match self.fill(&header, &path) {
            Ok(file) => Ok(OpenSegment {
                header,
                file,
                position: SECTOR as u64,
                length: self.length,
            }),
            Err(error) => {
                // What cannot be removed is an unused segment, which replay passes over.
                let _ = self.disk.remove(&path);
                Err(error.into())
            }
        }
    }

    fn fill(&self, header: &SegmentHeader, path: &std::path::Path) -> Result<DiskFile, DiskError> {
        let file = self.disk.create(path)?;
        self.disk
            .write_at(&file, 0, &header.encode(&self.key).unwrap_or_default())?;
        let mut position = SECTOR as u64;
        while position < self.length {
            let rest = usize::try_from(self.length - position).unwrap_or(ZEROS.len());
            let zeros = ZEROS.get(..rest).unwrap_or(&ZEROS);
            self.disk.write_at(&file, position, zeros)?;
            position += zeros.len() as u64;
        }
        self.disk.sync_data(&file, SyncPoint::JournalFile)?;
        self.disk.sync_dir(&self.folder, SyncPoint::JournalDir)?;
        Ok(file)
    }
}

/// The name of a segment's file.
fn segment_name(sequence: u64) -> String {
    format!("{sequence:020}.journal")
}

/// The number in a segment's name.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let sequence = name.strip_suffix(".journal")?.parse().ok()?;
    (segment_name(sequence) == name).then_some(sequence)
}

/// The journal's end.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    segments: Arc<Segments>,
    segment: OpenSegment,
    next_index: u64,
    /// A write failed half-way: what it left must be gone before another segment may hold the same index.
    torn: bool,
    buffer: Vec<u8>,
}

impl Journal {
    /// A journal whose next entry has `next_index`.
    pub(crate) const fn new(
        disk: Arc<dyn Disk>,
        segments: Arc<Segments>,
        segment: OpenSegment,
        next_index: u64,
    ) -> Self {
        Self {
            disk,
            segments,
            segment,
            next_index,
            torn: false,
            buffer: Vec::new(),
        }
    }

    /// Makes entries durable as they come, until the queue is closed.
    pub(crate) fn run(mut self, shared: &Shared, max_batch: usize) {
        let max_bytes = usize::try_from(self.segments.length() / 2).unwrap_or(usize::MAX);
        while let Some(batch) = shared.take(max_batch, max_bytes) {
            shared.await_integration();
            let leaves: Vec<Bytes> = batch.iter().map(|entry| entry.leaf.clone()).collect();
            match self.commit(&leaves, shared) {
                Ok(first) => {
                    let mut progress = shared.progress();
                    let first_pending = progress.pending.is_empty();
                    progress.durable = self.next_index;
                    progress.pending_bytes += leaves.iter().map(Bytes::len).sum::<usize>();
                    progress.pending.extend(leaves);
                    // The integrator knows of entries that wait already, and wakes when they have waited long enough.
                    let wake = first_pending || progress.is_awaited();
                    drop(progress);
                    if wake {
                        shared.notify();
                    }
                    (first..)
                        .zip(batch)
                        .for_each(|(index, entry)| answer(entry, Ok(index)));
                }
                Err(failure) => {
                    if let Failure::Stop(reason) = &failure {
                        shared.stop(reason);
                    }
                    let error = AppendError::from(failure);
                    batch
                        .into_iter()
                        .for_each(|entry| answer(entry, Err(error.clone())));
                }
            }
        }
        shared.progress().journal_closed = true;
        shared.notify();
    }

    /// Writes one group and syncs it. Returns its first index.
    pub(crate) fn commit(&mut self, leaves: &[Bytes], shared: &Shared) -> Result<u64, Failure> {
        if self.torn {
            self.disk
                .write_at(&self.segment.file, self.segment.position, &[0; SECTOR])?;
            self.disk.sync_data(&self.segment.file, SyncPoint::JournalData)?;
            self.torn = false;
        }
        let length = group_len(leaves);
        if self.segment.room() < length {
            self.roll(shared)?;
        }
        self.buffer.clear();
        self.segment
            .header
            .encode_group(&self.segments.key, self.next_index, leaves, &mut self.buffer);
        if let Err(error) = self
            .disk
            .write_at(&self.segment.file, self.segment.position, &self.buffer)
        {
            self.torn = true;
            return Err(error.into());
        }
        // After a failed sync the kernel may have dropped the data and may say so only once: never tried again.
        self.disk.sync_data(&self.segment.file, SyncPoint::JournalData)?;
        let first = self.next_index;
        self.segment.position += length;
        self.next_index += leaves.len() as u64;
        Ok(first)
    }

    fn roll(&mut self, shared: &Shared) -> Result<(), Failure> {
        let spare = shared.progress().spare.take();
        let next = match spare {
            Some(spare) => spare,
            None => {
                let made = self.segments.create()?;
                shared.budget.add(self.segments.length());
                made
            }
        };
        let full = mem::replace(&mut self.segment, next);
        let path = full.file.path().to_owned();
        shared.progress().retired.push(Retired {
            path,
            end: self.next_index,
            length: full.length,
        });
        Ok(())
    }
}

fn answer(entry: Queued, result: Result<u64, AppendError>) {
    // Whoever does not wait for the answer does not need it.
    let _ = entry.answer.send(result);
}
