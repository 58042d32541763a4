//! A project folder with its own keeper.

use std::path::{Path, PathBuf};

use stockade_crypto::KeyFolder;
use stockade_evidence::{Record, Timestamp};
use stockade_store::{Config, Handle, Keeper, StateDir};

pub(crate) struct Project {
    folder: tempfile::TempDir,
    dir: StateDir,
    keeper: Keeper,
    pub(crate) handle: Handle,
}

impl Project {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        dir.create().unwrap();
        let keys = KeyFolder::create(&dir.keys(), None, 1_800_000_000).unwrap();
        let keeper = Box::pin(Keeper::open(dir.clone(), keys, Config::default()))
            .await
            .unwrap();
        Self {
            folder,
            dir,
            handle: Handle::Local(keeper.clone()),
            keeper,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn vault(&self) -> PathBuf {
        self.dir.vault()
    }

    pub(crate) async fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let since = Timestamp::from_unix_ms(0);
        self.keeper
            .entries_since(since, &mut |_, record| records.push(record.clone()))
            .await
            .unwrap();
        records
    }
}
