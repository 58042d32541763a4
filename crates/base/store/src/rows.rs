//! Rows behind a trait ([`RowStore`]), and the embedded backend ([`SqliteRows`]).
//!
//! A backend applies a batch of changes and the log position they lead to in one transaction, so it is always the exact
//! sum of a prefix of the log. Batches come in log order from one writer; readers come at any time.

mod sqlite;

use std::{future::Future, io};

use stockade_evidence::{Change, canonical_json};

pub use self::sqlite::SqliteRows;
use crate::commit::Row;

/// Rows of one kind that are answered at once; more is an error, never a silent cut.
pub const ROWS_MAX: usize = 100_000;

const PAGE: u32 = 1_000;

/// A place in the log: the first `size` entries of `origin`, and all former origins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Position {
    /// The log.
    pub origin: String,
    /// How many of its entries.
    pub size: u64,
}

/// Changes in log order, and the position of the log after them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Each change with the index of its entry.
    pub changes: Vec<(u64, Change)>,
    /// Where the rows stand afterwards; `changes` are of this origin.
    pub applied: Position,
}

/// Why rows could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The database file is damaged.
    #[error("records.db is damaged: {what}\nhint: `stockade doctor --rebuild` makes it anew from the log")]
    Corrupt {
        /// What SQLite found.
        what: String,
    },
    /// The database could not be used: disk full, no permission, not a database.
    #[error(
        "records.db could not be used\nhint: where it is damaged, `stockade doctor --rebuild` makes it anew from the log"
    )]
    Database(#[from] sqlx::Error),
    /// The file could not be made.
    #[error("records.db could not be made")]
    Io(#[from] io::Error),
    /// A row is not what the log says, or is missing or too many. Exit code 4.
    #[error(
        "the row `{kind}` `{id}` differs from the log\nhint: stop the server; `stockade doctor --rebuild` makes the rows anew from the log"
    )]
    Differs {
        /// The row's kind.
        kind: String,
        /// The row's id.
        id: String,
    },
    /// A value that is no JSON, or has numbers that canonical JSON cannot carry.
    #[error(
        "the row `{kind}` `{id}` is not canonical JSON\nhint: `stockade doctor --rebuild` makes the rows anew from the log"
    )]
    NotCanonical {
        /// The row's kind.
        kind: String,
        /// The row's id.
        id: String,
    },
    /// There are more rows of this kind than are answered at once.
    #[error("there are more than {ROWS_MAX} rows of kind `{kind}`")]
    TooMany {
        /// The kind.
        kind: String,
    },
}

/// What a backend of rows must do. PostgreSQL will pass the same suite.
pub trait RowStore: Send + Sync {
    /// One row.
    fn row(&self, kind: &str, id: &str) -> impl Future<Output = Result<Option<Row>, RowsError>> + Send;

    /// At most `limit` rows of a kind whose id sorts after `after` (bytewise), sorted by id.
    fn page(
        &self,
        kind: &str,
        after: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Row>, RowsError>> + Send;

    /// The log position whose sum the rows are; `None` before the first batch.
    fn applied(&self) -> impl Future<Output = Result<Option<Position>, RowsError>> + Send;

    /// Applies a batch whole or not at all, durably.
    fn apply(&self, batch: &Batch) -> impl Future<Output = Result<(), RowsError>> + Send;

    /// All rows of a kind, sorted by id.
    fn rows(&self, kind: &str) -> impl Future<Output = Result<Vec<Row>, RowsError>> + Send {
        async move {
            let mut all: Vec<Row> = Vec::new();
            loop {
                let after = all.last().map_or(String::new(), |row| row.id.clone());
                let page = self.page(kind, &after, PAGE).await?;
                let complete = page.len() < PAGE as usize;
                all.extend(page);
                if all.len() > ROWS_MAX {
                    return Err(RowsError::TooMany {
                        kind: kind.to_owned(),
                    });
                }
                if complete {
                    return Ok(all);
                }
            }
        }
    }
}

/// A row whose value is still text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StoredRow {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) value: String,
    pub(crate) origin: String,
    pub(crate) log_index: u64,
}

impl StoredRow {
    pub(crate) fn parse(self) -> Result<Row, RowsError> {
        let Self {
            kind,
            id,
            value,
            origin,
            log_index,
        } = self;
        match serde_json::from_str(&value) {
            Ok(value) => Ok(Row {
                kind,
                id,
                value,
                log_index,
                origin,
            }),
            Err(_) => Err(RowsError::NotCanonical { kind, id }),
        }
    }
}

/// The one text of a value: canonical JSON (RFC 8785).
pub(crate) fn value_text(kind: &str, id: &str, value: &serde_json::Value) -> Result<String, RowsError> {
    canonical_json(value)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| RowsError::NotCanonical {
            kind: kind.to_owned(),
            id: id.to_owned(),
        })
}
