//! A project folder for tests: made, opened, spoiled.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use stockade_crypto::{KeyFolder, KeyProvider};
use stockade_evidence::{Actor, Change, Event, Record, RecordId, Timestamp};
use stockade_store::{Appended, Commit, Config, Handle, Keeper, OpenError, StateDir, wall_clock};

/// A folder that is removed at the end.
pub(crate) struct Folder {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) dir: StateDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::new(temp.path().join("project"));
        dir.create().unwrap();
        KeyFolder::create(&dir.keys(), None, 1_700_000_000).unwrap();
        Self { temp, dir }
    }

    pub(crate) fn keys(&self) -> KeyProvider {
        KeyFolder::open(&self.dir.keys()).unwrap()
    }

    pub(crate) async fn try_open(&self) -> Result<Keeper, OpenError> {
        Keeper::open(self.dir.clone(), self.keys(), Config::default()).await
    }

    pub(crate) async fn open(&self) -> Keeper {
        self.try_open().await.unwrap()
    }

    pub(crate) async fn connect(&self) -> Handle {
        Handle::connect(
            self.dir.clone(),
            || KeyFolder::open(&self.dir.keys()),
            Config::default(),
        )
        .await
        .unwrap()
    }

    /// A copy of part of the state, to put back later.
    pub(crate) fn keep(&self, part: &Path) -> PathBuf {
        let kept = self.temp.path().join("kept");
        let _ = std::fs::remove_dir_all(&kept);
        copy(part, &kept);
        kept
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::copy(from, to).unwrap();
    }
}

pub(crate) fn put_back(kept: &Path, part: &Path) {
    if part.is_dir() {
        std::fs::remove_dir_all(part).unwrap();
    }
    copy(kept, part);
}

pub(crate) fn record(event: Event) -> Record {
    record_at(event, wall_clock())
}

pub(crate) fn record_at(event: Event, time: Timestamp) -> Record {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Record::new(time, RecordId::new(id), event, Actor::System {})
}

pub(crate) fn put(kind: &str, id: &str, value: serde_json::Value) -> Change {
    Change::Put {
        kind: kind.into(),
        id: id.into(),
        value,
    }
}

pub(crate) async fn set(keeper: &Keeper, id: &str, value: serde_json::Value) -> Appended {
    let change = put("thing", id, value);
    keeper
        .commit(Commit::new(record(Event::PrincipalChanged).changing(change)))
        .await
        .unwrap()
}

/// Runs SQL on the folder's database, behind the keeper's back.
pub(crate) async fn sql(dir: &StateDir, statement: &'static str) {
    use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
    let options = SqliteConnectOptions::new().filename(dir.records_db());
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found
}
