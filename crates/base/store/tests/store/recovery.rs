//! What a recovery takes over: rows that the old log confirms, and sizes and names that keys confirm.

use serde_json::json;
use stockade_evidence::{Actor, Change, Event, Record, Timestamp};
use stockade_store::{
    Config, Keeper, OpenError, RecoverReport, Retention, UnconfirmedRows,
    log::{Audit, LogPaths, LogTrust, audit, prune},
    recover_log,
};

use crate::folder::{Folder, copy, put, put_back, record, record_at, set, sql};

async fn recover(folder: &Folder, rows: UnconfirmedRows) -> Result<RecoverReport, OpenError> {
    let (dir, keys) = (folder.dir.clone(), folder.keys());
    recover_log(dir, keys, Config::default(), Actor::Operator { uid: 1 }, rows).await
}

fn paths(folder: &Folder) -> LogPaths {
    LogPaths {
        log: folder.dir.log(),
        journal: folder.dir.journal(),
        head: folder.dir.head(),
        origins: folder.dir.origins(),
    }
}

fn audited(folder: &Folder) -> Audit {
    let trust = LogTrust::load(Ok(folder.keys()), &folder.dir.verifier_keys()).unwrap();
    audit(&paths(folder), &trust, None, &|_| ()).unwrap()
}

/// Every problem as `FILE: REASON`.
fn problems(folder: &Folder) -> Vec<String> {
    let Audit { current, others } = audited(folder);
    std::iter::once(&current)
        .chain(&others)
        .flat_map(|found| &found.problems)
        .map(|problem| format!("{}: {}", problem.file, problem.reason))
        .collect()
}

#[track_caller]
fn check_problem(folder: &Folder, words: &str) {
    let found = problems(folder);
    assert!(found.iter().any(|problem| problem.contains(words)), "{found:?}");
}

async fn first_record(folder: &Folder) -> Record {
    let keeper = folder.open().await;
    let mut first = None;
    keeper
        .log()
        .read(0, &mut |_, leaf| {
            first = Record::from_leaf(leaf).ok();
            false
        })
        .unwrap();
    keeper.close().await.unwrap();
    first.unwrap()
}

/// The journal may still hold what the log has lost.
fn empty_journal(folder: &Folder) {
    for file in crate::folder::files(&folder.dir.journal()) {
        std::fs::remove_file(file).unwrap();
    }
}

/// Rows `a`, `b` and `c`, and one that was deleted.
async fn filled() -> Folder {
    let folder = Folder::new();
    let keeper = folder.open().await;
    for id in ["a", "b", "c", "gone"] {
        set(&keeper, id, json!({"role": "user"})).await;
    }
    let delete = Change::Delete {
        kind: "thing".into(),
        id: "gone".into(),
    };
    keeper
        .append(record(Event::PrincipalChanged).changing(delete))
        .await
        .unwrap();
    keeper.close().await.unwrap();
    folder
}

#[tokio::test]
async fn rows_that_the_old_log_does_not_confirm_are_not_signed() {
    for (statement, named) in [
        (
            r#"UPDATE rows SET value = '{"role":"admin"}' WHERE id = 'b'"#,
            "b",
        ),
        (
            r#"UPDATE rows SET value = '{"role":"admin"}', log_index = 1000 WHERE id = 'b'"#,
            "b",
        ),
        ("DELETE FROM rows WHERE id = 'c'", "c"),
        (
            "INSERT INTO rows SELECT kind, 'd', value, origin, log_index FROM rows WHERE id = 'a'",
            "d",
        ),
        (
            "INSERT INTO rows SELECT kind, 'd', value, origin, 9 FROM rows WHERE id = 'a'",
            "d",
        ),
    ] {
        let folder = filled().await;
        sql(&folder.dir, statement).await;
        std::fs::remove_file(folder.dir.head()).unwrap();
        for _ in 0..2 {
            let error = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
            assert!(error.is_integrity_broken(), "{statement}: {error}");
            match error {
                OpenError::RowsUnconfirmed { id, more: 0, .. } => assert_eq!(id, named, "{statement}"),
                other => panic!("{statement}: {other}"),
            }
        }
        assert!(folder.dir.log().join("checkpoint").exists(), "nothing was moved");
        let report = recover(&folder, UnconfirmedRows::Accept).await.unwrap();
        assert_eq!((report.rows_kept, report.rows_accepted), (true, 1));
        let first = first_record(&folder).await;
        assert_eq!(first.details.get("rows_accepted"), Some(&json!(1)));
        assert_eq!(
            first.details.get("rows_not_confirmed"),
            Some(&json!([format!("thing {named}")]))
        );
    }
}

#[tokio::test]
async fn rows_behind_the_log_are_brought_to_its_end() {
    let folder = filled().await;
    let kept = folder.keep(&folder.dir.records_db());
    let keeper = folder.open().await;
    set(&keeper, "a", json!("revoked")).await;
    keeper.close().await.unwrap();
    put_back(&kept, &folder.dir.records_db());
    std::fs::write(folder.dir.log().join("checkpoint"), "cut\n").unwrap();
    let report = recover(&folder, UnconfirmedRows::Refuse).await.unwrap();
    assert_eq!((report.rows, report.rows_accepted), (3, 0));
    let keeper = folder.open().await;
    let row = keeper.row("thing", "a").await.unwrap().unwrap();
    assert_eq!(row.value, json!("revoked"));
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn without_rows_only_a_whole_log_is_replayed() {
    let folder = filled().await;
    let kept = folder.keep(&folder.dir.log());
    let keeper = folder.open().await;
    set(&keeper, "a", json!("revoked")).await;
    keeper.close().await.unwrap();
    put_back(&kept, &folder.dir.log());
    empty_journal(&folder);
    std::fs::remove_file(folder.dir.records_db()).unwrap();
    let error = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
    assert!(matches!(error, OpenError::NothingWhole), "{error}");
    let report = recover(&folder, UnconfirmedRows::Accept).await.unwrap();
    assert_eq!((report.rows, report.rows_kept), (3, false));
}

#[tokio::test]
async fn a_damaged_log_confirms_what_lies_before_the_damage() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "early", json!(1)).await;
    for _ in 0..300 {
        keeper.append(record(Event::RequestAdmitted)).await.unwrap();
    }
    set(&keeper, "late", json!(1)).await;
    keeper.close().await.unwrap();
    let bundles = folder.dir.log().join("tile/entries/001.p");
    let bundle = crate::folder::files(&bundles).pop().unwrap();
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    empty_journal(&folder);
    match recover(&folder, UnconfirmedRows::Refuse).await {
        Err(OpenError::RowsUnconfirmed { id, more: 0, .. }) => assert_eq!(id, "late"),
        other => panic!("{other:?}"),
    }
    recover(&folder, UnconfirmedRows::Accept).await.unwrap();
    // Everything before the damage is still counted.
    let keeper = folder.open().await;
    let mut seen = 0;
    let mut count = |_: u64, record: &Record| seen += u32::from(record.event == Event::RequestAdmitted);
    keeper
        .entries_since(Timestamp::from_unix_ms(0), &mut count)
        .await
        .unwrap();
    assert!(seen > 200, "{seen}");
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_forged_head_says_nothing() {
    let folder = filled().await;
    let size = folder_size(&folder);
    let text = std::fs::read_to_string(folder.dir.head()).unwrap();
    let forged = text
        .replacen("\"generation\":0", "\"generation\":18446744073709551615", 1)
        .replacen(&format!("\"size\":{size}"), "\"size\":77", 1);
    assert_ne!(text, forged);
    std::fs::write(folder.dir.head(), forged).unwrap();
    let refused = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
    assert!(matches!(refused, OpenError::NothingWhole), "{refused}");
    let report = recover(&folder, UnconfirmedRows::Accept).await.unwrap();
    let head = report.former.head.unwrap();
    assert_eq!((head.generation, head.current.size), (0, size));
    let first = first_record(&folder).await;
    assert_eq!(first.details.get("former_size"), Some(&json!(size)));
    assert_eq!(first.details.get("rows_proven_newest"), Some(&json!(false)));
    assert_eq!(problems(&folder), [""; 0]);
}

fn folder_size(folder: &Folder) -> u64 {
    audited(folder).current.size
}

#[tokio::test]
async fn a_log_without_its_head_is_left_behind_under_its_name() {
    let folder = filled().await;
    let origin = audited(&folder).current.origin;
    for generation in 1..=2 {
        std::fs::remove_file(folder.dir.head()).unwrap();
        let report = recover(&folder, UnconfirmedRows::Accept).await.unwrap();
        assert_eq!(report.rows_accepted, 0);
        assert_eq!(report.former.head.unwrap().generation, generation - 1);
        assert_eq!(problems(&folder), [""; 0]);
        assert_eq!(u64::try_from(audited(&folder).others.len()).unwrap(), generation);
    }
    let former = folder.dir.origins().join(&origin);
    std::fs::write(former.join("checkpoint"), "cut\n").unwrap();
    check_problem(&folder, "checkpoint");
}

#[tokio::test]
async fn nothing_that_was_left_behind_is_overwritten() {
    let folder = filled().await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        std::fs::remove_file(folder.dir.head()).unwrap();
        let checkpoint = folder.dir.log().join("checkpoint");
        std::fs::write(&checkpoint, format!("not a checkpoint {}\n", kept.len())).unwrap();
        let report = recover(&folder, UnconfirmedRows::Accept).await.unwrap();
        assert!(report.former.head.is_none());
        kept.push(report.former.kept_at);
    }
    assert_ne!(kept[0], kept[1]);
    for (index, folder) in kept.iter().enumerate() {
        let text = std::fs::read_to_string(folder.join("checkpoint")).unwrap();
        assert_eq!(text, format!("not a checkpoint {index}\n"));
    }
    assert_eq!(audited(&folder).others.len(), 2);
}

#[tokio::test]
async fn a_rebuilt_keyring_leaves_a_log_that_verifies() {
    let folder = filled().await;
    let rebuild = || {
        std::fs::remove_file(folder.dir.keys().join("keyring.json")).unwrap();
        stockade_crypto::KeyFolder::rebuild(&folder.dir.keys(), 1_700_000_000).unwrap();
        LogTrust::set_aside(&folder.dir.verifier_keys()).unwrap();
    };
    for generation in 1..=2 {
        rebuild();
        let refused = recover(&folder, UnconfirmedRows::Refuse).await.unwrap_err();
        assert!(
            matches!(refused, OpenError::RowsUnconfirmed { .. }),
            "nothing confirms the keys that signed the log: {refused}"
        );
        recover(&folder, UnconfirmedRows::Accept).await.unwrap();
        assert_eq!(problems(&folder), [""; 0]);
        assert_eq!(audited(&folder).others.len(), generation);
    }
    // The keys in the plain file count for the logs that the chain names, and for nothing else.
    let former = audited(&folder).others.remove(0).origin;
    let other = filled().await;
    put_back(&other.dir.log(), &folder.dir.origins().join(&former));
    check_problem(&folder, "is not the log of");
}

#[tokio::test]
async fn a_pruned_log_still_names_the_one_before_it() {
    let folder = Folder::new();
    let retention = Retention {
        keep_days: Some(1),
        legal_hold: false,
    };
    let config = Config {
        retention,
        ..Config::default()
    };
    let keeper = folder.open().await;
    set(&keeper, "a", json!(1)).await;
    keeper.close().await.unwrap();
    let early = folder.temp.path().join("early");
    copy(folder.dir.state(), &early);
    let keeper = folder.open().await;
    let old = Timestamp::from_unix_ms(keeper.now().unix_ms() - 5 * 86_400_000);
    set(&keeper, "a", json!(2)).await;
    keeper.close().await.unwrap();
    let name = audited(&folder).current.origin;
    recover(&folder, UnconfirmedRows::Refuse).await.unwrap();
    for _ in 0..2 {
        let keeper = Keeper::open(folder.dir.clone(), folder.keys(), config.clone())
            .await
            .unwrap();
        for _ in 0..600 {
            keeper
                .append(record_at(Event::RequestAdmitted, old))
                .await
                .unwrap();
        }
        let (minimum, freed) = keeper.prune(Actor::System {}).await.unwrap();
        assert!(minimum > 256 && freed > 0, "{minimum} {freed}");
        keeper.close().await.unwrap();
        assert_eq!(problems(&folder), [""; 0]);
    }
    let former = folder.dir.origins().join(&name);
    let head = folder.dir.origins().join(format!("{name}.head.json"));
    let whole = folder.keep(&former);
    let whole_head = std::fs::read(&head).unwrap();
    put_back(&early.join("log"), &former);
    std::fs::copy(early.join("head.json"), &head).unwrap();
    check_problem(&folder, "is not the log of");
    put_back(&whole, &former);
    std::fs::write(&head, whole_head).unwrap();
    assert_eq!(problems(&folder), [""; 0]);
    // A folder that no record names must at least have a sealed head.
    let stray = folder.dir.origins().join("stray");
    copy(&former, &stray);
    check_problem(&folder, "origins/stray.head.json: is missing");
    std::fs::write(folder.dir.origins().join("stray.head.json"), "{}").unwrap();
    check_problem(&folder, "origins/stray.head.json");
}

#[tokio::test]
async fn a_pruning_beside_the_audit_is_no_problem() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    for n in 0..2_560 {
        let mut next = record(Event::RequestAdmitted);
        if n == 2_000 {
            next = record(Event::LogPruned).with("minimum_index", 1_792);
        }
        keeper.append(next).await.unwrap();
    }
    keeper.close().await.unwrap();
    let trust = LogTrust::of_keyring(&folder.keys()).unwrap();
    let paths = paths(&folder);
    let pruned = std::sync::Once::new();
    let progress = |_| {
        pruned.call_once(|| {
            prune(&stockade_store::disk::Posix, &paths, 1_792).unwrap();
        });
    };
    let found = audit(&paths, &trust, None, &progress).unwrap().current;
    assert_eq!(found.problems, []);
}

#[tokio::test]
async fn a_checkpoint_that_is_none_accuses_nothing_else() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    for _ in 0..300 {
        keeper.append(record(Event::RequestAdmitted)).await.unwrap();
    }
    let pruned = record(Event::LogPruned).with("minimum_index", 256);
    keeper
        .append(pruned.changing(put("thing", "a", json!(1))))
        .await
        .unwrap();
    keeper.close().await.unwrap();
    prune(&stockade_store::disk::Posix, &paths(&folder), 256).unwrap();
    assert_eq!(problems(&folder), [""; 0]);
    let file = folder.dir.log().join("checkpoint");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "cut\n").unwrap();
    let found = problems(&folder);
    assert!(
        found.iter().all(|problem| !problem.starts_with("retention.json")),
        "{found:?}"
    );
    std::fs::write(&file, text).unwrap();
    for tile in crate::folder::files(&folder.dir.log().join("tile/0")) {
        std::fs::write(tile, [0; 32]).unwrap();
    }
    let found = problems(&folder);
    assert!(
        found.iter().all(|problem| !problem.starts_with("tile:")),
        "no file has this name: {found:?}"
    );
    check_problem(&folder, "head.json: names a tree of");
}
