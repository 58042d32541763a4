//! A disk that fails at one chosen operation, and from then on if asked.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::disk::{DirEntry, Disk, DiskError, DiskFile, DiskOperation, SyncPoint};

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The operation fails with EIO, once.
    Once(DiskOperation),
    /// The operation, and all of its kind after it, fail with EIO.
    FromThenOn(DiskOperation),
    /// Half of a write is done, then it fails with EIO.
    ShortWrite,
    /// Creating and writing fail with ENOSPC until space is freed ([`Faulty::heal`]); half of a write is done.
    NoSpace,
}

impl Fault {
    fn concerns(self, operation: DiskOperation) -> bool {
        match self {
            Self::Once(wanted) | Self::FromThenOn(wanted) => wanted == operation,
            Self::ShortWrite => operation == DiskOperation::Write,
            Self::NoSpace => {
                use DiskOperation::{Create, MakeDir, Write};
                matches!(operation, Create | Write | MakeDir)
            }
        }
    }
}

/// Fails over `D` at the `nth` operation (counted from 0) that the fault concerns.
#[derive(Debug)]
pub struct Faulty<D> {
    inner: D,
    fault: Fault,
    nth: AtomicU64,
    seen: AtomicU64,
}

impl<D: Disk> Faulty<D> {
    /// A disk with one fault to come.
    pub const fn new(inner: D, fault: Fault, nth: u64) -> Self {
        Self {
            inner,
            fault,
            nth: AtomicU64::new(nth),
            seen: AtomicU64::new(0),
        }
    }

    /// Nothing fails any more: space was freed.
    pub fn heal(&self) {
        self.nth.store(u64::MAX, Ordering::SeqCst);
    }

    /// Whether the fault was met.
    pub fn struck(&self) -> bool {
        self.seen.load(Ordering::SeqCst) > self.nth.load(Ordering::SeqCst)
    }

    /// How many operations the fault concerned so far.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    fn fails(&self, operation: DiskOperation) -> Option<io::Error> {
        if !self.fault.concerns(operation) {
            return None;
        }
        let (now, nth) = (
            self.seen.fetch_add(1, Ordering::SeqCst),
            self.nth.load(Ordering::SeqCst),
        );
        let lasting = matches!(self.fault, Fault::FromThenOn(_) | Fault::NoSpace);
        let kind = match self.fault {
            Fault::NoSpace => io::ErrorKind::StorageFull,
            Fault::Once(_) | Fault::FromThenOn(_) | Fault::ShortWrite => io::ErrorKind::Other,
        };
        (now == nth || (lasting && now > nth)).then(|| io::Error::new(kind, "injected"))
    }

    fn check(&self, operation: DiskOperation, path: &Path) -> Result<(), DiskError> {
        self.fails(operation)
            .map_or(Ok(()), |cause| Err(DiskError::new(operation, path, cause)))
    }
}

impl<D: Disk> Disk for Faulty<D> {
    fn create(&self, path: &Path) -> Result<DiskFile, DiskError> {
        self.check(DiskOperation::Create, path)?;
        self.inner.create(path)
    }

    fn write_at(&self, file: &DiskFile, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let Some(cause) = self.fails(DiskOperation::Write) else {
            return self.inner.write_at(file, offset, data);
        };
        if matches!(self.fault, Fault::ShortWrite | Fault::NoSpace) {
            let (half, _) = data.split_at(data.len() / 2);
            self.inner.write_at(file, offset, half)?;
        }
        Err(DiskError::new(DiskOperation::Write, file.path(), cause))
    }

    fn sync_data(&self, file: &DiskFile, point: SyncPoint) -> Result<(), DiskError> {
        self.check(DiskOperation::SyncData, file.path())?;
        self.inner.sync_data(file, point)
    }

    fn sync_dir(&self, dir: &Path, point: SyncPoint) -> Result<(), DiskError> {
        self.check(DiskOperation::SyncDir, dir)?;
        self.inner.sync_dir(dir, point)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.check(DiskOperation::Rename, to)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<bool, DiskError> {
        self.check(DiskOperation::Remove, path)?;
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> Result<bool, DiskError> {
        self.check(DiskOperation::Remove, path)?;
        self.inner.remove_dir(path)
    }

    fn make_dir(&self, path: &Path) -> Result<bool, DiskError> {
        self.check(DiskOperation::MakeDir, path)?;
        self.inner.make_dir(path)
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, DiskError> {
        self.check(DiskOperation::Read, path)?;
        self.inner.read(path, limit)
    }

    fn list(&self, dir: &Path) -> Result<Option<Vec<DirEntry>>, DiskError> {
        self.check(DiskOperation::List, dir)?;
        self.inner.list(dir)
    }

    fn len(&self, path: &Path) -> Result<Option<u64>, DiskError> {
        self.inner.len(path)
    }

    fn free_space(&self, dir: &Path) -> Result<u64, DiskError> {
        self.inner.free_space(dir)
    }
}
