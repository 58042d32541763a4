//! The few file operations that the log is built from, with a name for every sync.
//!
//! [`Posix`] is the real disk. [`testing`] wraps it for the crash tests: one disk keeps a trace from which every state
//! that POSIX permits after a power failure can be built, one fails on demand.
//!
//! POSIX.1-2024, `fsync`, `fdatasync`, `rename`: a write is durable only after its file was synced, a name only
//! after its folder was. Nothing here promises more.

mod posix;
pub mod testing;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::posix::{DiskFile, Posix};

/// Where in the product a sync is made. `docs/crash-safety.md` says what each one is for, and the crash tests prove
/// that none can be left out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SyncPoint {
    /// The names of the folders of a new log.
    FolderNames,
    /// A new journal segment, before it is used.
    JournalFile,
    /// The name of a new journal segment.
    JournalDir,
    /// A commit group: what makes an entry durable.
    JournalData,
    /// A tile or an entry bundle.
    TileFile,
    /// The name of a tile or an entry bundle.
    TileDir,
    /// The name of a new folder of tiles.
    TileParent,
    /// The private head, before it replaces the old one.
    HeadFile,
    /// The name of the private head.
    HeadDir,
    /// The checkpoint, before it replaces the old one.
    CheckpointFile,
    /// The name of the checkpoint.
    CheckpointDir,
    /// The anchored copy, before it replaces the old one.
    AnchorFile,
    /// The name of the anchored copy.
    AnchorDir,
    /// The minimum index, before it replaces the old one.
    RetentionFile,
    /// The name of the file with the minimum index.
    RetentionDir,
    /// The new name of the anchor of a log that is left behind.
    AnchorAside,
    /// The head of a log that is left behind, copied beside it.
    OriginFile,
    /// The names of a log that is left behind.
    OriginDir,
}

impl SyncPoint {
    /// Every sync, in the order of the documentation.
    pub const ALL: [Self; 18] = [
        Self::FolderNames,
        Self::JournalFile,
        Self::JournalDir,
        Self::JournalData,
        Self::TileFile,
        Self::TileDir,
        Self::TileParent,
        Self::HeadFile,
        Self::HeadDir,
        Self::CheckpointFile,
        Self::CheckpointDir,
        Self::AnchorFile,
        Self::AnchorDir,
        Self::RetentionFile,
        Self::RetentionDir,
        Self::AnchorAside,
        Self::OriginFile,
        Self::OriginDir,
    ];
}

/// What was tried on a file or folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskOperation {
    /// Create a file.
    Create,
    /// Write to a file.
    Write,
    /// Make the content of a file durable.
    SyncData,
    /// Make the names in a folder durable.
    SyncDir,
    /// Give a file or folder another name.
    Rename,
    /// Remove a file or an empty folder.
    Remove,
    /// Create a folder.
    MakeDir,
    /// Read a file.
    Read,
    /// List a folder.
    List,
    /// Ask for the free space.
    FreeSpace,
}

impl fmt::Display for DiskOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Write => "write",
            Self::SyncData => "sync",
            Self::SyncDir => "sync the folder",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::MakeDir => "create the folder",
            Self::Read => "read",
            Self::List => "list",
            Self::FreeSpace => "ask for the free space of",
        })
    }
}

/// A file operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {operation} `{}`: {cause}", path.display())]
pub struct DiskError {
    operation: DiskOperation,
    path: PathBuf,
    cause: Arc<io::Error>,
}

impl DiskError {
    /// `operation` on `path` failed because of `cause`.
    pub fn new(operation: DiskOperation, path: &Path, cause: io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            cause: Arc::new(cause),
        }
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was tried.
    pub const fn operation(&self) -> DiskOperation {
        self.operation
    }

    /// Whether the disk or a quota is full, and nothing worse: after a failed sync it is unknown what was kept.
    pub fn is_no_space(&self) -> bool {
        let full = matches!(
            self.cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        full && !matches!(self.operation, DiskOperation::SyncData | DiskOperation::SyncDir)
    }
}

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A link, a socket or anything else, which has no business in a log.
    Other,
}

/// One name in a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirEntry {
    /// The name; bytes that are not UTF-8 are replaced, so that it matches no name of ours.
    pub name: String,
    /// What it stands for.
    pub kind: EntryKind,
}

/// A disk, or something that behaves like one. Two kinds exist: [`Posix`] and the wrappers in [`testing`].
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates a file that must not exist, readable by its owner alone.
    fn create(&self, path: &Path) -> Result<DiskFile, DiskError>;
    /// Writes all of `data` at `offset`.
    fn write_at(&self, file: &DiskFile, offset: u64, data: &[u8]) -> Result<(), DiskError>;
    /// Makes the file's content and length durable, as `fdatasync` does.
    fn sync_data(&self, file: &DiskFile, point: SyncPoint) -> Result<(), DiskError>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path, point: SyncPoint) -> Result<(), DiskError>;
    /// Gives a file or folder another name, replacing a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;
    /// Removes a file; `false` if there was none.
    fn remove(&self, path: &Path) -> Result<bool, DiskError>;
    /// Removes an empty folder; `false` if there was none or it is not empty.
    fn remove_dir(&self, path: &Path) -> Result<bool, DiskError>;
    /// Creates a folder for its owner alone; `false` if it was there.
    fn make_dir(&self, path: &Path) -> Result<bool, DiskError>;
    /// The whole file, at most `limit` bytes; `None` if there is none. Links are not followed.
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, DiskError>;
    /// The names in a folder, in no order; `None` if there is no such folder.
    fn list(&self, dir: &Path) -> Result<Option<Vec<DirEntry>>, DiskError>;
    /// The length of a file; `None` if there is none.
    fn len(&self, path: &Path) -> Result<Option<u64>, DiskError>;
    /// Bytes that a process without privileges may still write where `dir` lies.
    fn free_space(&self, dir: &Path) -> Result<u64, DiskError>;
}
