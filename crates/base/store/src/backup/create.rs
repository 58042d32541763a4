//! Making a backup of a live folder.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use stockade_crypto::{JournalKey, Passphrase};
use stockade_evidence::{
    Actor, Event, FULL_WIDTH, Record, Subject, SubjectKind, TileSource as _, entries_path, tile_path,
};

use super::{
    BackupError, BackupReport,
    copy::Filling,
    manifest::{MANIFEST, Manifest, SEALED_KEYS, SIGNATURE, sign},
};
use crate::{
    disk::Posix,
    files::{read_bounded, write_durable},
    keeper::{Keeper, blocking, log_paths, system_record},
    layout::StateDir,
    log::{FolderSource, Head, HeadOf, Retention, keys_before_rebuild},
};

const CHECKPOINT_MAX_BYTES: u64 = 1 << 20;
const PAIR_TRIES: u32 = 50;
const PAIR_WAIT: Duration = Duration::from_millis(20);
const WIDTH: u64 = FULL_WIDTH as u64;

/// Makes a backup of the keeper's folder in the new folder `into`, while everything goes on; with a passphrase the keys are
/// in it, sealed under that. The `backup.created` record names the manifest's digest.
pub async fn create_backup(
    keeper: &Keeper,
    into: &Path,
    passphrase: Option<&Passphrase>,
    actor: Actor,
) -> Result<BackupReport, BackupError> {
    let into = std::path::absolute(into)?;
    let dir = keeper.dir().clone();
    if into.starts_with(std::path::absolute(dir.state())?) {
        return Err(BackupError::Inside { folder: into });
    }
    let mut filling = Filling::new(&into)?;
    // The rows come first: they must never be ahead of the log that is copied after them.
    let rows = into.join("state");
    std::fs::create_dir(&rows)?;
    keeper.shared.rows.copy_to(&rows.join("records.db")).await?;
    filling.adopt("state/records.db")?;
    keeper.integrated().await?;
    if let Some(passphrase) = passphrase {
        filling.bytes(SEALED_KEYS, &keeper.keys().export_encrypted(passphrase)?)?;
    }
    let (now, keys) = (keeper.now(), keeper.keys().clone());
    let report = blocking(move || {
        let head = copy_log(&mut filling, &dir, &keys.log_keys()?.journal)?;
        copy_rest(&mut filling, &dir)?;
        let manifest = Manifest::new(
            now,
            head.origin,
            head.current.size,
            std::mem::take(&mut filling.files),
        );
        let bytes = manifest.to_bytes()?;
        let signature = sign(&keys, &bytes)?;
        filling.bytes(SIGNATURE, format!("{signature}\n").as_bytes())?;
        filling.finish()?;
        // The manifest comes last: without it there is no backup.
        write_durable(&into.join(MANIFEST), &bytes)?;
        Ok::<_, BackupError>(manifest.report(&bytes))
    })
    .await??;
    record(keeper, &report, actor).await?;
    Ok(report)
}

async fn record(keeper: &Keeper, report: &BackupReport, actor: Actor) -> Result<(), BackupError> {
    let about = Subject {
        digest: Some(report.manifest),
        ..Subject::new(SubjectKind::Backup, "backup")
    };
    let record = system_record(Event::BackupCreated, keeper.now()).map_err(io::Error::other)?;
    let record = Record { actor, ..record }
        .about(about)
        .with("log_size", report.log_size)
        .with("with_keys", report.with_keys);
    keeper.append(record).await?;
    Ok(())
}

/// Copies the log as of one head.
fn copy_log(filling: &mut Filling, dir: &StateDir, journal: &JournalKey) -> Result<Head, BackupError> {
    let (head, checkpoint) = head_and_checkpoint(dir, journal)?;
    filling.bytes("state/head.json", &head.to_json(HeadOf::Written, journal))?;
    filling.bytes("state/log/checkpoint", &checkpoint)?;
    let retention = Retention::read(&Posix, &log_paths(dir)).map_err(crate::log::ReadError::from)?;
    filling.bytes(
        "state/retention.json",
        &serde_json::to_vec(&retention).map_err(io::Error::from)?,
    )?;
    let source = FolderSource::new(dir.log());
    for path in paths_of(head.current.size, retention.minimum_index) {
        let bytes = source.read(&path).map_err(crate::log::ReadError::from)?;
        let bytes = bytes.ok_or_else(|| BackupError::Log {
            what: format!("`{path}` is missing"),
        })?;
        filling.bytes(&format!("state/log/{path}"), &bytes)?;
    }
    Ok(head)
}

/// A head and the checkpoint of that head or of the one it remembers as published: what the writer itself would accept.
fn head_and_checkpoint(dir: &StateDir, journal: &JournalKey) -> Result<(Head, Vec<u8>), BackupError> {
    let no_pair = || BackupError::Log {
        what: "its head and its checkpoint do not belong together".to_owned(),
    };
    for _ in 0..PAIR_TRIES {
        let checkpoint = read_bounded(&dir.log().join("checkpoint"), CHECKPOINT_MAX_BYTES)?;
        let head = Head::read_sealed(&Posix, &dir.head(), HeadOf::Written, journal).map_err(|error| {
            BackupError::Log {
                what: error.to_string(),
            }
        })?;
        let head = head.ok_or_else(no_pair)?;
        let size = std::str::from_utf8(&checkpoint)
            .ok()
            .and_then(|text| text.lines().nth(1)?.parse::<u64>().ok())
            .ok_or_else(no_pair)?;
        let published = head.published.map(|published| published.size);
        if size == head.current.size || Some(size) == published {
            return Ok((head, checkpoint));
        }
        std::thread::sleep(PAIR_WAIT);
    }
    Err(no_pair())
}

/// The tiles and bundles of a tree, without the bundles that were pruned (C2SP tlog-tiles).
fn paths_of(size: u64, minimum_index: u64) -> Vec<String> {
    let mut paths = Vec::new();
    let mut hashes = size;
    for level in 0u8.. {
        if hashes == 0 {
            break;
        }
        push_row(&mut paths, 0, hashes, |index, width| {
            tile_path(level, index, width)
        });
        hashes /= WIDTH;
    }
    push_row(&mut paths, minimum_index / WIDTH, size, entries_path);
    paths
}

fn push_row(paths: &mut Vec<String>, first: u64, count: u64, name: impl Fn(u64, u16) -> String) {
    paths.extend((first..count / WIDTH).map(|index| name(index, FULL_WIDTH)));
    let partial = u16::try_from(count % WIDTH).unwrap_or(0);
    if partial > 0 {
        paths.push(name(count / WIDTH, partial));
    }
}

fn copy_rest(filling: &mut Filling, dir: &StateDir) -> io::Result<()> {
    for (name, folder) in [
        ("state/origins", dir.origins()),
        ("state/vault", dir.vault()),
        ("state/blobs", dir.blobs()),
        ("state/subjects", dir.subjects()),
    ] {
        filling.folder(name, &folder)?;
    }
    let keys = keys_before_rebuild(&dir.verifier_keys());
    if let Some(name) = keys
        .file_name()
        .and_then(|name| name.to_str())
        .filter(|_| keys.exists())
    {
        filling.file(&format!("state/{name}"), &keys)?;
    }
    for file in project_files(dir)? {
        let name = file.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        filling.file(&format!("project/{name}"), &dir.project().join(&file))?;
    }
    Ok(())
}

/// Configuration and policies: the files of the project folder that Stockade reads.
fn project_files(dir: &StateDir) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if dir.project().join("stockade.toml").is_file() {
        found.push(PathBuf::from("stockade.toml"));
    }
    let policies = dir.project().join("policies");
    if policies.is_dir() {
        let files = crate::files::files_below(&policies)?;
        found.extend(
            files
                .into_iter()
                .filter(|file| file.extension().is_some_and(|ending| ending == "cedar"))
                .map(|file| Path::new("policies").join(file)),
        );
    }
    Ok(found)
}
