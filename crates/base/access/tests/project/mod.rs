//! A project folder with its own keeper.

use std::{fs, path::Path};

use stockade_crypto::KeyFolder;
use stockade_store::{Config, Handle, Keeper, StateDir};

pub(crate) struct Project {
    folder: tempfile::TempDir,
    pub(crate) handle: Handle,
}

impl Project {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        dir.create().unwrap();
        let keys = KeyFolder::create(&dir.keys(), None, 1_800_000_000).unwrap();
        let keeper = Box::pin(Keeper::open(dir, keys, Config::default()))
            .await
            .unwrap();
        Self {
            folder,
            handle: Handle::Local(keeper),
        }
    }

    /// Runs SQL on the project's database, behind the keeper's back.
    pub(crate) async fn sql(&self, statement: &'static str) {
        use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
        let database = StateDir::new(self.folder.path()).records_db();
        let options = SqliteConnectOptions::new().filename(database);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
        assert!(done.rows_affected() > 0);
        connection.close().await.unwrap();
    }

    /// No file of the project holds `marker`, once everything is integrated.
    pub(crate) async fn assert_nowhere(&self, marker: &str) {
        self.handle.integrated().await.unwrap();
        let files = search(self.folder.path(), marker.as_bytes());
        assert!(files > 5, "only {files} files were searched");
    }
}

fn search(folder: &Path, marker: &[u8]) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += search(&path, marker);
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            assert!(
                !bytes.windows(marker.len()).any(|window| window == marker),
                "{}",
                path.display()
            );
            files += 1;
        }
    }
    files
}
