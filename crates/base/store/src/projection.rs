//! The rows as the log says they are: a replay in memory, compared with what the backend holds.
//!
//! A row that was edited, added, removed or left stale behind the log's back differs from the replay and is named; the
//! backend is never trusted over the log. Entries that change state are found by a byte search before anything is
//! parsed: in canonical JSON a non-empty list of changes is always spelled `"changes":[`, and no string can contain
//! those bytes unescaped.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use serde::{Deserialize, Serialize};
use stockade_evidence::{Change, Record, canonical_json};

use crate::rows::{Batch, Position, RowsError, SqliteRows, StoredRow, value_text};

const CHANGES_MARK: &[u8] = b"\"changes\":[";
const SNAPSHOT_FORMAT: u32 = 1;

/// An entry of the log that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It claims to change state and is no record.
    #[error(
        "entry {index} of `{origin}` is not a record\nhint: `stockade log verify` says what else is wrong"
    )]
    Unreadable {
        /// The log.
        origin: String,
        /// The entry.
        index: u64,
    },
    /// Its value has no canonical form.
    #[error(transparent)]
    Value(#[from] RowsError),
}

/// Rows in memory, as of a position of the log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Projection {
    rows: BTreeMap<(String, String), Held>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Held {
    value: String,
    origin: String,
    log_index: u64,
}

/// A row as the log says it is; its value is canonical JSON.
pub(crate) struct ProjectedRow<'a> {
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    pub(crate) value: &'a str,
    pub(crate) origin: &'a str,
    pub(crate) log_index: u64,
}

/// What a snapshot blob holds.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SnapshotBody {
    format: u32,
    rows: Vec<SnapshotRow>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SnapshotRow {
    kind: String,
    id: String,
    value: String,
    origin: String,
    log_index: u64,
}

impl Projection {
    /// Applies the entry if it changes state; says which changes it made.
    pub(crate) fn replay(
        &mut self,
        origin: &str,
        index: u64,
        leaf: &[u8],
    ) -> Result<Vec<Change>, ReplayError> {
        let changes = changes_of(origin, index, leaf)?;
        for change in &changes {
            self.apply(origin, index, change)?;
        }
        Ok(changes)
    }

    fn apply(&mut self, origin: &str, log_index: u64, change: &Change) -> Result<(), RowsError> {
        match change {
            Change::Put { kind, id, value } => {
                let held = Held {
                    value: value_text(kind, id, value)?,
                    origin: origin.to_owned(),
                    log_index,
                };
                match self.rows.entry((kind.clone(), id.clone())) {
                    Entry::Occupied(mut entry) => drop(entry.insert(held)),
                    Entry::Vacant(entry) => drop(entry.insert(held)),
                }
            }
            Change::Delete { kind, id } => drop(self.rows.remove(&(kind.clone(), id.clone()))),
        }
        Ok(())
    }

    /// The first row, by kind and id, that `rows` holds otherwise than the log.
    pub(crate) async fn difference(&self, rows: &SqliteRows) -> Result<Option<(String, String)>, RowsError> {
        let mut expected = self.rows.iter();
        let mut found = None;
        rows.each(|row| {
            let wanted = expected.next();
            if wanted.is_some_and(|wanted| same(wanted, &row)) {
                return true;
            }
            found = Some(match wanted {
                Some(((kind, id), _)) if (kind, id) < (&row.kind, &row.id) => (kind.clone(), id.clone()),
                Some(_) | None => (row.kind, row.id),
            });
            false
        })
        .await?;
        Ok(found.or_else(|| expected.next().map(|(key, _)| key.clone())))
    }

    /// The rows, by kind and id, that `other` does not hold likewise.
    pub(crate) fn differing(&self, other: &Self) -> Vec<(String, String)> {
        let keys: BTreeSet<_> = self.rows.keys().chain(other.rows.keys()).collect();
        keys.into_iter()
            .filter(|key| self.rows.get(*key) != other.rows.get(*key))
            .cloned()
            .collect()
    }

    /// The rows as a backend holds them; each value must have its one text.
    pub(crate) async fn from_rows(rows: &SqliteRows) -> Result<Self, RowsError> {
        let mut all = BTreeMap::new();
        let mut refused = None;
        rows.each(|row| {
            let text = serde_json::from_str(&row.value).ok();
            let text = text.and_then(|value| value_text(&row.kind, &row.id, &value).ok());
            if text.as_ref() != Some(&row.value) {
                refused = Some((row.kind, row.id));
                return false;
            }
            let held = Held {
                value: row.value,
                origin: row.origin,
                log_index: row.log_index,
            };
            all.insert((row.kind, row.id), held);
            true
        })
        .await?;
        match refused {
            Some((kind, id)) => Err(RowsError::NotCanonical { kind, id }),
            None => Ok(Self { rows: all }),
        }
    }

    /// The blob of a `state.snapshot` record.
    pub(crate) fn to_snapshot(&self) -> Result<Vec<u8>, stockade_evidence::CanonicalError> {
        let rows = self.rows.iter().map(|((kind, id), held)| SnapshotRow {
            kind: kind.clone(),
            id: id.clone(),
            value: held.value.clone(),
            origin: held.origin.clone(),
            log_index: held.log_index,
        });
        canonical_json(&SnapshotBody {
            format: SNAPSHOT_FORMAT,
            rows: rows.collect(),
        })
    }

    /// The rows of a snapshot whose digest was checked.
    pub(crate) fn from_snapshot(bytes: &[u8]) -> Option<Self> {
        let body: SnapshotBody = serde_json::from_slice(bytes).ok()?;
        let rows = body.rows.into_iter().map(|row| {
            let held = Held {
                value: row.value,
                origin: row.origin,
                log_index: row.log_index,
            };
            ((row.kind, row.id), held)
        });
        (body.format == SNAPSHOT_FORMAT).then(|| Self { rows: rows.collect() })
    }

    /// Calls `each` with every row.
    pub(crate) fn each(&self, mut each: impl FnMut(ProjectedRow<'_>)) {
        for ((kind, id), held) in &self.rows {
            each(ProjectedRow {
                kind,
                id,
                value: &held.value,
                origin: &held.origin,
                log_index: held.log_index,
            });
        }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Every row as the batches that make it in an empty backend, and the position they lead to.
    pub(crate) fn to_batches(&self, applied: &Position) -> Result<Vec<Batch>, RowsError> {
        let mut by_origin: BTreeMap<&str, Vec<(u64, Change)>> = BTreeMap::new();
        for ((kind, id), held) in &self.rows {
            let value = serde_json::from_str(&held.value).map_err(|_| RowsError::NotCanonical {
                kind: kind.clone(),
                id: id.clone(),
            })?;
            let change = Change::Put {
                kind: kind.clone(),
                id: id.clone(),
                value,
            };
            by_origin
                .entry(&held.origin)
                .or_default()
                .push((held.log_index, change));
        }
        let mut batches: Vec<Batch> = by_origin
            .into_iter()
            .map(|(origin, changes)| Batch {
                changes,
                applied: Position {
                    origin: origin.to_owned(),
                    size: 0,
                },
            })
            .collect();
        batches.push(Batch {
            changes: Vec::new(),
            applied: applied.clone(),
        });
        Ok(batches)
    }
}

/// The changes of an entry; none when it changes nothing.
pub(crate) fn changes_of(origin: &str, index: u64, leaf: &[u8]) -> Result<Vec<Change>, ReplayError> {
    if !contains(leaf, CHANGES_MARK) {
        return Ok(Vec::new());
    }
    Record::from_leaf(leaf)
        .map(|record| record.changes)
        .map_err(|_| ReplayError::Unreadable {
            origin: origin.to_owned(),
            index,
        })
}

fn same(((kind, id), held): (&(String, String), &Held), row: &StoredRow) -> bool {
    (kind, id, &held.value, &held.origin, held.log_index)
        == (&row.kind, &row.id, &row.value, &row.origin, row.log_index)
}

/// Whether `needle` occurs in `haystack`: jumps from one first byte to the next.
pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some(&first) = needle.first() else { return true };
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|&byte| byte == first) {
        let (_, tail) = rest.split_at(at);
        if tail.starts_with(needle) {
            return true;
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    false
}
