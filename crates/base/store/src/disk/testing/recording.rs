//! A disk that does what it is asked and remembers it, in order.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::disk::{DirEntry, Disk, DiskError, DiskFile, SyncPoint};

/// One thing that happened to the disk. Files are numbered: a name may pass from one to another.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A file was created.
    Create {
        /// Its number.
        file: u64,
        /// Its name.
        path: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// The file.
        file: u64,
        /// Where.
        offset: u64,
        /// What.
        data: Vec<u8>,
    },
    /// A file was synced.
    SyncData {
        /// The file.
        file: u64,
        /// By which line of the product.
        point: SyncPoint,
    },
    /// A folder was synced.
    SyncDir {
        /// The folder.
        dir: PathBuf,
        /// By which line of the product.
        point: SyncPoint,
    },
    /// A file or folder got another name.
    Rename {
        /// The old name.
        from: PathBuf,
        /// The new name.
        to: PathBuf,
    },
    /// A file or an empty folder was removed.
    Remove {
        /// Its name.
        path: PathBuf,
    },
    /// A folder was created.
    MakeDir {
        /// Its name.
        path: PathBuf,
    },
    /// The test says that it was promised something, in its own words.
    Mark(String),
}

/// Keeps the order of operations over `D`. One operation at a time, so that the order in the trace is the true one.
#[derive(Debug)]
pub struct Recording<D> {
    inner: D,
    trace: Mutex<Vec<Operation>>,
}

impl<D: Disk> Recording<D> {
    /// Records what `inner` does from now on.
    pub const fn new(inner: D) -> Self {
        Self {
            inner,
            trace: Mutex::new(Vec::new()),
        }
    }

    /// Notes a promise at this point of the trace.
    pub fn mark(&self, promise: impl Into<String>) {
        self.trace().push(Operation::Mark(promise.into()));
    }

    /// What happened so far.
    pub fn operations(&self) -> Vec<Operation> {
        self.trace().clone()
    }

    fn trace(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Disk> Disk for Recording<D> {
    fn create(&self, path: &Path) -> Result<DiskFile, DiskError> {
        let mut trace = self.trace();
        let file = self.inner.create(path)?;
        trace.push(Operation::Create {
            file: file.id(),
            path: path.to_owned(),
        });
        Ok(file)
    }

    fn write_at(&self, file: &DiskFile, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let mut trace = self.trace();
        self.inner.write_at(file, offset, data)?;
        trace.push(Operation::Write {
            file: file.id(),
            offset,
            data: data.to_owned(),
        });
        Ok(())
    }

    fn sync_data(&self, file: &DiskFile, point: SyncPoint) -> Result<(), DiskError> {
        let mut trace = self.trace();
        self.inner.sync_data(file, point)?;
        trace.push(Operation::SyncData {
            file: file.id(),
            point,
        });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path, point: SyncPoint) -> Result<(), DiskError> {
        let mut trace = self.trace();
        self.inner.sync_dir(dir, point)?;
        trace.push(Operation::SyncDir {
            dir: dir.to_owned(),
            point,
        });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut trace = self.trace();
        self.inner.rename(from, to)?;
        trace.push(Operation::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<bool, DiskError> {
        let mut trace = self.trace();
        let removed = self.inner.remove(path)?;
        if removed {
            trace.push(Operation::Remove {
                path: path.to_owned(),
            });
        }
        Ok(removed)
    }

    fn remove_dir(&self, path: &Path) -> Result<bool, DiskError> {
        let mut trace = self.trace();
        let removed = self.inner.remove_dir(path)?;
        if removed {
            trace.push(Operation::Remove {
                path: path.to_owned(),
            });
        }
        Ok(removed)
    }

    fn make_dir(&self, path: &Path) -> Result<bool, DiskError> {
        let mut trace = self.trace();
        let made = self.inner.make_dir(path)?;
        if made {
            trace.push(Operation::MakeDir {
                path: path.to_owned(),
            });
        }
        Ok(made)
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, DiskError> {
        self.inner.read(path, limit)
    }

    fn list(&self, dir: &Path) -> Result<Option<Vec<DirEntry>>, DiskError> {
        self.inner.list(dir)
    }

    fn len(&self, path: &Path) -> Result<Option<u64>, DiskError> {
        self.inner.len(path)
    }

    fn free_space(&self, dir: &Path) -> Result<u64, DiskError> {
        self.inner.free_space(dir)
    }
}
