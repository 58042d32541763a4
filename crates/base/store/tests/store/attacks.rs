//! Whoever may write the state folder and has no key: what it takes to make the next opening, recovery or verification
//! believe another history.

use std::path::Path;

use serde_json::json;
use stockade_evidence::{Actor, Event, decode_entries, encode_entries};
use stockade_store::{
    Config, Keeper, OpenError, RecoverReport, StateDir, UnconfirmedRows,
    log::{LogPaths, LogTrust, audit},
    rebuild, recover_log,
};

use crate::folder::{Folder, copy, files, put_back, record, set, sql};

/// What a bundle holds.
const FULL: usize = 256;

async fn recover_with(
    folder: &Folder,
    config: Config,
    rows: UnconfirmedRows,
) -> Result<RecoverReport, OpenError> {
    let (dir, keys) = (folder.dir.clone(), folder.keys());
    recover_log(dir, keys, config, Actor::Operator { uid: 1 }, rows).await
}

async fn recover(folder: &Folder, rows: UnconfirmedRows) -> Result<RecoverReport, OpenError> {
    recover_with(folder, Config::default(), rows).await
}

/// Every problem as `FILE: REASON`.
fn problems(folder: &Folder) -> Vec<String> {
    let paths = LogPaths {
        log: folder.dir.log(),
        journal: folder.dir.journal(),
        head: folder.dir.head(),
        origins: folder.dir.origins(),
    };
    let trust = LogTrust::load(Ok(folder.keys()), &folder.dir.verifier_keys()).unwrap();
    let found = audit(&paths, &trust, None, &|_| ()).unwrap();
    std::iter::once(&found.current)
        .chain(&found.others)
        .flat_map(|found| &found.problems)
        .map(|problem| format!("{}: {}", problem.file, problem.reason))
        .collect()
}

fn empty(part: &Path) {
    for file in files(part) {
        std::fs::remove_file(file).unwrap();
    }
}

/// Writes `to` for `from`, which is as long, in every entry of the first bundle of the log in `log`.
fn forge(log: &Path, from: &str, to: &str) {
    let path = log.join("tile/entries/000");
    let bytes = std::fs::read(&path).unwrap();
    let forged: Vec<Vec<u8>> = decode_entries(&bytes)
        .unwrap()
        .into_iter()
        .map(|entry| {
            String::from_utf8(entry.to_vec())
                .unwrap()
                .replace(from, to)
                .into_bytes()
        })
        .collect();
    let forged = encode_entries(forged.iter().map(Vec::as_slice)).unwrap();
    assert_ne!(bytes, forged);
    std::fs::write(&path, forged).unwrap();
}

/// A row of the first bundle, and entries enough that it is no longer the last one.
async fn filled() -> Folder {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!({"role": "users"})).await;
    for _ in 0..FULL {
        keeper.append(record(Event::RequestAdmitted)).await.unwrap();
    }
    keeper.close().await.unwrap();
    folder
}

const USER: &str = r#"{"role":"users"}"#;
const ADMIN: &str = r#"{"role":"admin"}"#;
const ADMIN_ROW: &str = r#"UPDATE rows SET value = '{"role":"admin"}' WHERE id = 'a'"#;

#[tokio::test]
async fn an_entry_that_the_tree_does_not_have_confirms_no_row() {
    let folder = filled().await;
    forge(&folder.dir.log(), USER, ADMIN);
    sql(&folder.dir, ADMIN_ROW).await;
    let error = folder.try_open().await.unwrap_err();
    assert!(error.is_integrity_broken(), "{error}");
    let error = rebuild(folder.dir.clone(), folder.keys()).await.unwrap_err();
    assert!(error.is_integrity_broken(), "{error}");
    std::fs::remove_file(folder.dir.records_db()).unwrap();
    let error = folder.try_open().await.unwrap_err();
    assert!(error.is_integrity_broken(), "{error}");
}

#[tokio::test]
async fn a_snapshot_signs_no_entry_that_the_tree_does_not_have() {
    let folder = filled().await;
    let keeper = folder.open().await;
    forge(&folder.dir.log(), USER, ADMIN);
    keeper.snapshot().await.unwrap_err();
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn rows_of_the_time_before_the_damage_are_not_taken_for_the_newest() {
    let folder = filled().await;
    let old = folder.keep(&folder.dir.records_db());
    let keeper = folder.open().await;
    set(&keeper, "a", json!("revoked")).await;
    keeper.close().await.unwrap();
    // One entry after the old state is spoiled, and the rows are those of before it: nothing is missing from them.
    empty(&folder.dir.log().join("tile/entries/001.p"));
    empty(&folder.dir.journal());
    put_back(&old, &folder.dir.records_db());
    let error = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
    assert!(matches!(error, OpenError::NothingWhole), "{error}");
}

#[tokio::test]
async fn without_a_sealed_head_nothing_says_that_the_log_is_whole() {
    let folder = filled().await;
    let (log, rows) = (folder.temp.path().join("log"), folder.temp.path().join("rows"));
    copy(&folder.dir.log(), &log);
    copy(&folder.dir.records_db(), &rows);
    let keeper = folder.open().await;
    set(&keeper, "a", json!("revoked")).await;
    keeper.close().await.unwrap();
    // Checkpoints are public, and tiles of an older size can be made from those of a newer one.
    put_back(&log, &folder.dir.log());
    put_back(&rows, &folder.dir.records_db());
    empty(&folder.dir.journal());
    std::fs::remove_file(folder.dir.head()).unwrap();
    let error = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
    assert!(matches!(error, OpenError::NothingWhole), "{error}");
}

/// A folder whose first log was left behind with the row as it was; in the second it was revoked.
async fn recovered_and_revoked() -> (Folder, String) {
    let folder = filled().await;
    std::fs::write(folder.dir.log().join("checkpoint"), "cut\n").unwrap();
    let former = recover(&folder, UnconfirmedRows::Accept).await.unwrap().former;
    let keeper = folder.open().await;
    set(&keeper, "a", json!("revoked")).await;
    keeper.close().await.unwrap();
    (folder, former.head.unwrap().origin)
}

#[tokio::test]
async fn a_checkpoint_of_another_log_proves_nothing_of_this_one() {
    let folder = filled().await;
    let kept = folder.keep(&folder.dir.log());
    let report = recover(&folder, UnconfirmedRows::Refuse).await.unwrap();
    let keeper = folder.open().await;
    set(&keeper, "a", json!("revoked")).await;
    keeper.close().await.unwrap();
    assert_ne!(report.former.head.unwrap().origin, report.origin);
    // The log that was left behind is the longer one, and the same keys signed it.
    put_back(&kept, &folder.dir.log());
    empty(&folder.dir.journal());
    std::fs::remove_file(folder.dir.records_db()).unwrap();
    let error = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
    assert!(error.is_integrity_broken(), "{error}");
}

#[tokio::test]
async fn a_log_that_was_left_behind_does_not_come_back() {
    let (folder, former) = recovered_and_revoked().await;
    let origins = folder.dir.origins();
    // All that the attacker needs lies in the folder: its newest log is removed, and the former one is all there is.
    for part in [folder.dir.log(), folder.dir.journal()] {
        std::fs::remove_dir_all(&part).unwrap();
    }
    std::fs::remove_file(folder.dir.records_db()).unwrap();
    std::fs::remove_file(folder.dir.head()).unwrap();
    let error = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
    assert!(matches!(error, OpenError::NothingWhole), "{error}");
    // Its sealed head is none of a log that is written.
    std::fs::copy(origins.join(format!("{former}.head.json")), folder.dir.head()).unwrap();
    let error = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
    assert!(matches!(error, OpenError::NothingWhole), "{error}");
    std::fs::rename(origins.join(&former), folder.dir.log()).unwrap();
    std::fs::remove_dir_all(&origins).unwrap();
    assert!(folder.try_open().await.unwrap_err().is_integrity_broken());
}

#[tokio::test]
async fn no_rows_are_not_confirmed_by_no_entries() {
    for pruned in [false, true] {
        let folder = filled().await;
        sql(&folder.dir, "DELETE FROM rows").await;
        sql(&folder.dir, "DELETE FROM positions").await;
        if pruned {
            let text = r#"{"minimum_index":1000000,"removed_below":1000000,"legal_hold":false}"#;
            std::fs::write(folder.dir.state().join("retention.json"), text).unwrap();
        } else {
            empty(&folder.dir.log());
        }
        empty(&folder.dir.journal());
        let error = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
        assert!(matches!(error, OpenError::NothingWhole), "{pruned} {error}");
    }
}

#[tokio::test]
async fn a_key_that_was_rotated_out_adds_nothing_to_the_log() {
    let folder = filled().await;
    let parts = ["head.json", "log", "journal", "records.db"];
    let fork = StateDir::new(folder.temp.path().join("fork"));
    fork.create().unwrap();
    for part in parts {
        put_back(&folder.dir.state().join(part), &fork.state().join(part));
    }
    let thief = Keeper::open(fork.clone(), folder.keys(), Config::default()).await;
    let thief = thief.unwrap();
    set(&thief, "a", json!({"role": "admin"})).await;
    thief.close().await.unwrap();
    let keeper = folder.open().await;
    keeper.rotate_log_key().await.unwrap();
    keeper.close().await.unwrap();
    for part in ["log", "records.db"] {
        put_back(&fork.state().join(part), &folder.dir.state().join(part));
    }
    empty(&folder.dir.journal());
    let error = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
    assert!(error.is_integrity_broken(), "{error}");
}

#[tokio::test]
async fn rows_that_are_accepted_are_brought_to_the_end_of_the_log_too() {
    let folder = filled().await;
    let old = folder.keep(&folder.dir.records_db());
    let keeper = folder.open().await;
    set(&keeper, "a", json!("revoked")).await;
    keeper.close().await.unwrap();
    // An old database with one row more: whoever accepts that row does not accept the old one beside it.
    put_back(&old, &folder.dir.records_db());
    sql(
        &folder.dir,
        "INSERT INTO rows SELECT kind, 'b', value, origin, log_index FROM rows WHERE id = 'a'",
    )
    .await;
    let report = recover(&folder, UnconfirmedRows::Accept).await.unwrap();
    assert_eq!((report.rows, report.rows_accepted), (2, 1));
    let keeper = folder.open().await;
    let row = keeper.row("thing", "a").await.unwrap().unwrap();
    assert_eq!(row.value, json!("revoked"));
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_recovery_leaves_no_anchor_behind_that_knows_more() {
    let folder = Folder::new();
    let anchored = || Config {
        anchor: Some(folder.temp.path().join("anchor")),
        ..Config::default()
    };
    let open = || Keeper::open(folder.dir.clone(), folder.keys(), anchored());
    let keeper = open().await.unwrap();
    set(&keeper, "a", json!({"role": "users"})).await;
    keeper.close().await.unwrap();
    let state = folder.dir.state();
    let parts = ["head.json", "log", "journal", "records.db"].map(|part| state.join(part));
    let whole = folder.temp.path().join("whole");
    std::fs::create_dir(&whole).unwrap();
    for part in &parts {
        copy(part, &whole.join(part.file_name().unwrap()));
    }
    let keeper = open().await.unwrap();
    set(&keeper, "a", json!("revoked")).await;
    keeper.close().await.unwrap();
    for part in &parts {
        put_back(&whole.join(part.file_name().unwrap()), part);
    }
    assert!(open().await.unwrap_err().is_integrity_broken());
    let error = recover_with(&folder, anchored(), UnconfirmedRows::Refuse)
        .await
        .unwrap_err();
    assert!(error.is_integrity_broken(), "{error}");
    assert!(folder.temp.path().join("anchor").exists());
    recover_with(&folder, anchored(), UnconfirmedRows::Accept)
        .await
        .unwrap();
}

#[tokio::test]
async fn entries_of_a_former_log_beyond_its_checkpoint_are_verified() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!(1)).await;
    keeper.close().await.unwrap();
    let early = std::fs::read(folder.dir.log().join("checkpoint")).unwrap();
    let keeper = folder.open().await;
    set(&keeper, "a", json!({"role": "users"})).await;
    for _ in 0..FULL {
        keeper.append(record(Event::RequestAdmitted)).await.unwrap();
    }
    keeper.close().await.unwrap();
    let report = recover(&folder, UnconfirmedRows::Refuse).await.unwrap();
    assert_eq!(problems(&folder), [""; 0]);
    let former = report.former.kept_at;
    forge(&former, USER, ADMIN);
    // The older checkpoint covers nothing of what was changed, and a head that nobody sealed says nothing.
    std::fs::write(former.join("checkpoint"), early).unwrap();
    let name = former.file_name().unwrap().to_str().unwrap();
    std::fs::write(folder.dir.origins().join(format!("{name}.head.json")), "{}").unwrap();
    assert_ne!(problems(&folder), [""; 0]);
}

#[tokio::test]
async fn entries_between_the_checkpoint_and_the_head_are_verified() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!({"role": "users"})).await;
    for _ in 0..FULL {
        keeper.append(record(Event::RequestAdmitted)).await.unwrap();
    }
    keeper.close().await.unwrap();
    // The checkpoint that the head remembers as published is one that an attacker may put back.
    let keeper = folder.open().await;
    let before = std::fs::read(folder.dir.log().join("checkpoint")).unwrap();
    keeper.append(record(Event::RequestAdmitted)).await.unwrap();
    keeper.close().await.unwrap();
    std::fs::write(folder.dir.log().join("checkpoint"), before).unwrap();
    assert_eq!(problems(&folder), [""; 0], "a crash leaves the same");
    let bundle = files(&folder.dir.log().join("tile/entries/001.p")).pop().unwrap();
    let mut bytes = std::fs::read(&bundle).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    assert_ne!(problems(&folder), [""; 0]);
}
