//! The embedded backend: SQLite in WAL mode with synchronous=FULL.
//!
//! It is a projection: whatever is wrong with it, `stockade doctor --rebuild` makes it anew from the log.

use std::{io, path::Path, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use stockade_evidence::Change;

use super::{Batch, Position, RowStore, RowsError, StoredRow, value_text};
use crate::commit::Row;

const SCHEMA_VERSION: i64 = 1;
const CONNECTIONS: u32 = 3;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const SCHEMA: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS rows (kind TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL, \
     origin TEXT NOT NULL, log_index INTEGER NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID, STRICT",
    "CREATE TABLE IF NOT EXISTS positions (name TEXT NOT NULL PRIMARY KEY, origin TEXT NOT NULL, \
     position INTEGER NOT NULL) WITHOUT ROWID, STRICT",
];

/// Rows in SQLite.
#[derive(Clone, Debug)]
pub struct SqliteRows {
    pool: SqlitePool,
}

impl SqliteRows {
    /// Opens or makes the database and checks that it is whole.
    pub async fn open(path: &Path) -> Result<Self, RowsError> {
        match crate::files::create_private(path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        // Alone: of two connections that both make a new file's journal a write-ahead log, SQLite refuses one at once.
        options.connect().await?.close().await?;
        let rows = Self {
            // One connection always stays, and with it the write-ahead log, by which readers see that somebody writes.
            pool: SqlitePoolOptions::new()
                .min_connections(1)
                .max_connections(CONNECTIONS)
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_with(options)
                .await?,
        };
        rows.check_whole().await?;
        rows.prepare().await?;
        Ok(rows)
    }

    /// Opens an existing database for reading, beside its owner or on a copy, and leaves no mark.
    ///
    /// An owner keeps the write-ahead log as long as it has the database open. Where there is none, nobody writes, and the file
    /// is read as one that does not change; otherwise SQLite would put its own files beside it.
    pub async fn open_read_only(path: &Path) -> Result<Self, RowsError> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .immutable(!Path::new(&log).exists())
            .busy_timeout(BUSY_TIMEOUT);
        Ok(Self {
            pool: SqlitePoolOptions::new()
                .max_connections(1)
                .connect_with(options)
                .await?,
        })
    }

    /// Rows that live as long as this value.
    pub async fn in_memory() -> Result<Self, RowsError> {
        let options = SqliteConnectOptions::from_str("sqlite::memory:")?;
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await?;
        let rows = Self { pool };
        rows.prepare().await?;
        Ok(rows)
    }

    /// Closes every connection; the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Every row, sorted by kind and id, with its value as the text that is stored.
    pub(crate) async fn each(&self, mut each: impl FnMut(StoredRow) -> bool) -> Result<(), RowsError> {
        use futures::TryStreamExt as _;
        let mut rows = sqlx::query("SELECT kind, id, value, origin, log_index FROM rows ORDER BY kind, id")
            .fetch(&self.pool);
        while let Some(row) = rows.try_next().await? {
            if !each(stored(&row)?) {
                break;
            }
        }
        Ok(())
    }

    /// A remembered position, such as that of the newest snapshot. Hints: whoever uses one checks it against the log.
    pub(crate) async fn position(&self, name: &str) -> Result<Option<Position>, RowsError> {
        let row = sqlx::query("SELECT origin, position FROM positions WHERE name = ?1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok(Position {
                origin: row.try_get(0)?,
                size: from_sql(row.try_get(1)?),
            })
        })
        .transpose()
    }

    pub(crate) async fn set_position(&self, name: &str, position: &Position) -> Result<(), RowsError> {
        let mut transaction = self.pool.begin().await?;
        put_position(&mut transaction, name, position).await?;
        Ok(transaction.commit().await?)
    }

    /// Writes a whole copy to `path`, as of one moment.
    pub(crate) async fn copy_to(&self, path: &Path) -> Result<(), RowsError> {
        let text = path
            .to_str()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        sqlx::query("VACUUM INTO ?1")
            .bind(text)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn check_whole(&self) -> Result<(), RowsError> {
        let found: String = sqlx::query("PRAGMA integrity_check(1)")
            .fetch_one(&self.pool)
            .await?
            .try_get(0)?;
        if found == "ok" {
            Ok(())
        } else {
            Err(RowsError::Corrupt {
                what: one_line(&found),
            })
        }
    }

    async fn prepare(&self) -> Result<(), RowsError> {
        let version: i64 = sqlx::query("PRAGMA user_version")
            .fetch_one(&self.pool)
            .await?
            .try_get(0)?;
        if version != 0 && version != SCHEMA_VERSION {
            return Err(RowsError::Corrupt {
                what: format!("its schema has version {version}"),
            });
        }
        let mut transaction = self.pool.begin().await?;
        for statement in SCHEMA {
            sqlx::query(statement).execute(&mut *transaction).await?;
        }
        sqlx::query("PRAGMA user_version = 1")
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

impl RowStore for SqliteRows {
    async fn row(&self, kind: &str, id: &str) -> Result<Option<Row>, RowsError> {
        sqlx::query("SELECT kind, id, value, origin, log_index FROM rows WHERE kind = ?1 AND id = ?2")
            .bind(kind)
            .bind(id)
            .fetch_optional(&self.pool)
            .await?
            .map(|row| stored(&row)?.parse())
            .transpose()
    }

    async fn page(&self, kind: &str, after: &str, limit: u32) -> Result<Vec<Row>, RowsError> {
        sqlx::query(
            "SELECT kind, id, value, origin, log_index FROM rows WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        )
        .bind(kind)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| stored(row)?.parse())
        .collect()
    }

    async fn applied(&self) -> Result<Option<Position>, RowsError> {
        self.position("applied").await
    }

    async fn apply(&self, batch: &Batch) -> Result<(), RowsError> {
        let mut transaction = self.pool.begin().await?;
        for (index, change) in &batch.changes {
            apply_change(&mut transaction, &batch.applied.origin, *index, change).await?;
        }
        put_position(&mut transaction, "applied", &batch.applied).await?;
        Ok(transaction.commit().await?)
    }
}

async fn apply_change(
    transaction: &mut Transaction<'_, Sqlite>,
    origin: &str,
    index: u64,
    change: &Change,
) -> Result<(), RowsError> {
    match change {
        Change::Put { kind, id, value } => {
            sqlx::query(
                "INSERT INTO rows (kind, id, value, origin, log_index) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (kind, id) \
                 DO UPDATE SET value = excluded.value, origin = excluded.origin, log_index = excluded.log_index",
            )
            .bind(kind)
            .bind(id)
            .bind(value_text(kind, id, value)?)
            .bind(origin)
            .bind(to_sql(index))
            .execute(&mut **transaction)
            .await?;
        }
        Change::Delete { kind, id } => {
            sqlx::query("DELETE FROM rows WHERE kind = ?1 AND id = ?2")
                .bind(kind)
                .bind(id)
                .execute(&mut **transaction)
                .await?;
        }
    }
    Ok(())
}

async fn put_position(
    transaction: &mut Transaction<'_, Sqlite>,
    name: &str,
    position: &Position,
) -> Result<(), RowsError> {
    sqlx::query(
        "INSERT INTO positions (name, origin, position) VALUES (?1, ?2, ?3) \
         ON CONFLICT (name) DO UPDATE SET origin = excluded.origin, position = excluded.position",
    )
    .bind(name)
    .bind(&position.origin)
    .bind(to_sql(position.size))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn stored(row: &SqliteRow) -> Result<StoredRow, RowsError> {
    Ok(StoredRow {
        kind: row.try_get(0)?,
        id: row.try_get(1)?,
        value: row.try_get(2)?,
        origin: row.try_get(3)?,
        log_index: from_sql(row.try_get(4)?),
    })
}

/// SQLite integers are signed; no log has 2^63 entries, and an edited negative one matches no entry.
fn to_sql(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn one_line(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
