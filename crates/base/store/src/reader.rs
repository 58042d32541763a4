//! Reading without owning: no lock, no write, beside a running server or on a stranger's copy.
//!
//! SQLite is opened read-only and leaves no file behind; a copy on a read-only disk works as well. What a reader says is what the files say: the
//! keeper compares rows with the log, `log verify` checks the log.

use std::io;

use crate::{
    commit::Row,
    error::ReadError,
    files::read_bounded,
    layout::{STATE_VERSION, StateDir, VersionError},
    log::FolderSource,
    rows::{RowStore as _, SqliteRows},
};

const CHECKPOINT_MAX_BYTES: u64 = 65_536;

/// A state folder, for reading.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: StateDir,
    rows: SqliteRows,
}

/// Why a folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// VERSION was refused.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The rows could not be opened.
    #[error(transparent)]
    Rows(#[from] crate::rows::RowsError),
}

impl Reader {
    /// Opens the folder for reading.
    pub async fn open(dir: StateDir) -> Result<Self, ReaderError> {
        dir.check_version()?;
        let rows = SqliteRows::open_read_only(&dir.records_db()).await?;
        Ok(Self { dir, rows })
    }

    /// The folder.
    pub const fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// One row, as of the last transaction.
    pub async fn row(&self, kind: &str, id: &str) -> Result<Option<Row>, ReadError> {
        Ok(self.rows.row(kind, id).await?)
    }

    /// All rows of a kind, sorted by id.
    pub async fn rows(&self, kind: &str) -> Result<Vec<Row>, ReadError> {
        Ok(self.rows.rows(kind).await?)
    }

    /// The tiles of the log now written.
    pub fn log(&self) -> FolderSource {
        FolderSource::new(self.dir.log())
    }

    /// The newest signed checkpoint, as a signed note.
    pub fn checkpoint(&self) -> io::Result<String> {
        let bytes = read_bounded(&self.dir.log().join("checkpoint"), CHECKPOINT_MAX_BYTES)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    }

    /// The folder's version.
    pub const fn version(&self) -> u32 {
        STATE_VERSION
    }
}
