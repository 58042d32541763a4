//! Rows that are compared with the log whenever they are read.
//!
//! The keeper compares all rows with the log when it opens, and applies every change itself. From then on a digest of
//! each row in memory says what the backend must answer: a row that was edited, added or removed behind the keeper's
//! back is never given to anybody. No entry is read again for that, so pruned ones and former origins do not matter.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    path::Path,
};

use stockade_crypto::Sha256;
use stockade_evidence::Change;
use tokio::sync::RwLock;

use crate::{
    commit::Row,
    projection::Projection,
    rows::{Batch, RowStore as _, RowsError, SqliteRows, value_text},
};

/// SHA-256 of a row's value, origin and index.
type Print = [u8; 32];
type Kind = BTreeMap<String, Print>;

/// The rows of a keeper.
#[derive(Debug)]
pub(crate) struct CheckedRows {
    backend: SqliteRows,
    // INVARIANT: held for writing while the backend changes, so what is read under it is what it says.
    known: RwLock<Known>,
}

/// What the log says of every row, by kind and id.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<String, Kind>);

impl Known {
    pub(crate) fn new(projection: &Projection) -> Self {
        let mut known = Self::default();
        projection.each(|row| {
            let print = print(row.value, row.origin, row.log_index);
            known.put(row.kind, row.id, print);
        });
        known
    }

    /// Follows a batch that the backend has taken.
    pub(crate) fn apply(&mut self, batch: &Batch) -> Result<(), RowsError> {
        for (index, change) in &batch.changes {
            match change {
                Change::Put { kind, id, value } => {
                    let text = value_text(kind, id, value)?;
                    self.put(kind, id, print(&text, &batch.applied.origin, *index));
                }
                Change::Delete { kind, id } => {
                    self.0.get_mut(kind).and_then(|rows| rows.remove(id));
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, kind: &str, id: &str, print: Print) {
        match self.0.get_mut(kind) {
            Some(rows) => drop(rows.insert(id.to_owned(), print)),
            None => drop(
                self.0
                    .insert(kind.to_owned(), Kind::from([(id.to_owned(), print)])),
            ),
        }
    }

    /// The rows must be the known ones of `kind` after the id `after`, up to `limit` of them.
    fn check(&self, kind: &str, after: &str, limit: usize, rows: &[Row]) -> Result<(), RowsError> {
        let known = self.0.get(kind).into_iter();
        let mut known = known
            .flat_map(|rows| rows.range::<str, _>((Excluded(after), Unbounded)))
            .take(limit);
        for row in rows {
            if known.next() != Some((&row.id, &print_of(row)?)) {
                return Err(differs(kind, &row.id));
            }
        }
        known.next().map_or(Ok(()), |(id, _)| Err(differs(kind, id)))
    }

    /// What a backend holds.
    async fn read(rows: &SqliteRows) -> Result<Self, RowsError> {
        let mut found = Self::default();
        rows.each(|row| {
            found.put(&row.kind, &row.id, print(&row.value, &row.origin, row.log_index));
            true
        })
        .await?;
        Ok(found)
    }

    /// How many rows there are, if `found` are the same.
    fn compare(&self, found: &Self) -> Result<usize, RowsError> {
        let mut known = self.each();
        let mut count = 0_usize;
        for row in found.each() {
            if known.next() != Some(row) {
                return Err(differs(row.0, row.1));
            }
            count = count.saturating_add(1);
        }
        known
            .next()
            .map_or(Ok(count), |(kind, id, _)| Err(differs(kind, id)))
    }

    fn each(&self) -> impl Iterator<Item = (&str, &str, &Print)> {
        self.0.iter().flat_map(|(kind, rows)| {
            rows.iter()
                .map(move |(id, print)| (kind.as_str(), id.as_str(), print))
        })
    }
}

impl CheckedRows {
    pub(crate) fn new(backend: SqliteRows, known: Known) -> Self {
        Self {
            backend,
            known: RwLock::new(known),
        }
    }

    /// The backend, for what it remembers besides rows.
    pub(crate) const fn backend(&self) -> &SqliteRows {
        &self.backend
    }

    /// See [`RowStore::row`](crate::RowStore::row).
    pub(crate) async fn row(&self, kind: &str, id: &str) -> Result<Option<Row>, RowsError> {
        let known = self.known.read().await;
        let row = self.backend.row(kind, id).await.map_err(edited)?;
        let wanted = known.0.get(kind).and_then(|rows| rows.get(id)).copied();
        if row.as_ref().map(print_of).transpose()? == wanted {
            Ok(row)
        } else {
            Err(differs(kind, id))
        }
    }

    /// See [`RowStore::rows`](crate::RowStore::rows).
    pub(crate) async fn rows(&self, kind: &str) -> Result<Vec<Row>, RowsError> {
        let known = self.known.read().await;
        let rows = self.backend.rows(kind).await.map_err(edited)?;
        known.check(kind, "", usize::MAX, &rows)?;
        Ok(rows)
    }

    /// See [`RowStore::page`](crate::RowStore::page).
    pub(crate) async fn page(&self, kind: &str, after: &str, limit: u32) -> Result<Vec<Row>, RowsError> {
        let known = self.known.read().await;
        let rows = self.backend.page(kind, after, limit).await.map_err(edited)?;
        known.check(kind, after, usize::try_from(limit).unwrap_or(usize::MAX), &rows)?;
        Ok(rows)
    }

    /// Compares every row; answers how many there are.
    pub(crate) async fn check_all(&self) -> Result<usize, RowsError> {
        let known = self.known.read().await;
        known.compare(&Known::read(&self.backend).await?)
    }

    /// Writes a whole copy to `path`, as of one moment, and compares that.
    pub(crate) async fn copy_to(&self, path: &Path) -> Result<(), RowsError> {
        let known = self.known.read().await;
        self.backend.copy_to(path).await?;
        let copy = SqliteRows::open_read_only(path).await?;
        let found = Known::read(&copy).await;
        copy.close().await;
        known.compare(&found?).map(drop)
    }

    /// Applies a batch whole or not at all, durably.
    pub(crate) async fn apply(&self, batch: &Batch) -> Result<(), RowsError> {
        let mut known = self.known.write().await;
        self.backend.apply(batch).await?;
        known.apply(batch)
    }
}

fn differs(kind: &str, id: &str) -> RowsError {
    // Whoever edits the database chooses what stands there.
    let short = |text: &str| text.chars().take(80).collect();
    RowsError::Differs {
        kind: short(kind),
        id: short(id),
    }
}

/// The keeper wrote canonical JSON alone.
fn edited(error: RowsError) -> RowsError {
    match error {
        RowsError::NotCanonical { kind, id } => differs(&kind, &id),
        other => other,
    }
}

fn print_of(row: &Row) -> Result<Print, RowsError> {
    let text = value_text(&row.kind, &row.id, &row.value).map_err(edited)?;
    Ok(print(&text, &row.origin, row.log_index))
}

fn print(value: &str, origin: &str, log_index: u64) -> Print {
    let mut hash = Sha256::new();
    hash.update(&log_index.to_be_bytes());
    hash.update(&u64::try_from(origin.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(origin.as_bytes());
    hash.update(value.as_bytes());
    hash.finish()
}
