//! The rows are the sum of the log, and whoever changes them behind its back is found out.

use serde_json::json;
use stockade_evidence::{Actor, Change, Event, Record, Timestamp};
use stockade_store::{
    AppendError, Commit, CommitError, Config, Expect, Keeper, OpenError, ReadError, Reader, Retention,
    RowsError, UnconfirmedRows, VersionError, create_backup,
    log::{LogPaths, LogTrust, audit},
    rebuild, recover_log,
};

use crate::folder::{Folder, files, put, put_back, record, record_at, set, sql};

#[tokio::test]
async fn a_commit_leaves_a_row_that_survives_and_readers_see() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let mut changes = keeper.changes();
    changes.mark_unchanged();
    let appended = set(&keeper, "a", json!({"n": 1})).await;
    assert_eq!(*changes.borrow_and_update(), appended.index);
    let row = keeper.row("thing", "a").await.unwrap().unwrap();
    assert_eq!(
        (row.log_index, &row.origin, &row.value),
        (appended.index, &appended.origin, &json!({"n": 1}))
    );
    let reader = Reader::open(folder.dir.clone()).await.unwrap();
    assert_eq!(reader.row("thing", "a").await.unwrap(), Some(row.clone()));
    keeper.close().await.unwrap();
    let keeper = folder.open().await;
    assert_eq!(keeper.rows("thing").await.unwrap(), [row]);
    assert!(reader.checkpoint().unwrap().starts_with(&appended.origin));
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn expectations_hold_or_nothing_is_written() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let absent = Expect::Absent {
        kind: "thing".into(),
        id: "a".into(),
    };
    let create = || {
        Commit::new(record(Event::KeyCreated).changing(put("thing", "a", json!(1)))).expecting(absent.clone())
    };
    let first = keeper.commit(create()).await.unwrap();
    assert!(matches!(
        keeper.commit(create()).await,
        Err(CommitError::Conflict { .. })
    ));
    let at = |log_index| Expect::At {
        kind: "thing".into(),
        id: "a".into(),
        log_index,
    };
    let change = |expect| {
        Commit::new(record(Event::KeyRevoked).changing(put("thing", "a", json!(2)))).expecting(expect)
    };
    let second = keeper.commit(change(at(first.index))).await.unwrap();
    assert!(matches!(
        keeper.commit(change(at(first.index))).await,
        Err(CommitError::Conflict { .. })
    ));
    assert_eq!(second.index, first.index + 1, "refused commits leave no entry");
    keeper.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_compare_and_set_loses_no_update() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "count", json!(0)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let keeper = keeper.clone();
        tasks.spawn(async move {
            let mut done = 0;
            while done < 10 {
                let row = keeper.row("thing", "count").await.unwrap().unwrap();
                let next = json!(row.value.as_u64().unwrap() + 1);
                let expect = Expect::At {
                    kind: "thing".into(),
                    id: "count".into(),
                    log_index: row.log_index,
                };
                let commit =
                    Commit::new(record(Event::PrincipalChanged).changing(put("thing", "count", next)));
                match keeper.commit(commit.expecting(expect)).await {
                    Ok(_) => done += 1,
                    Err(CommitError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(
        keeper.row("thing", "count").await.unwrap().unwrap().value,
        json!(80)
    );
    keeper.close().await.unwrap();
    // The order of the log is the order of the rows.
    folder.open().await.close().await.unwrap();
}

#[tokio::test]
async fn a_keeper_that_was_dropped_loses_nothing() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!("x")).await;
    drop(keeper);
    let keeper = loop {
        match folder.try_open().await {
            Ok(keeper) => break keeper,
            // The tasks of the first let go within one turn of the runtime.
            Err(OpenError::AlreadyOwned { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(keeper.row("thing", "a").await.unwrap().unwrap().value, json!("x"));
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_keeper_refuses() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let other = keeper.clone();
    keeper.close().await.unwrap();
    assert!(matches!(
        other.append(record(Event::LogExported)).await,
        Err(AppendError::Closed(_))
    ));
    assert!(matches!(other.row("thing", "a").await, Err(ReadError::Closed(_))));
    other.close().await.unwrap();
}

/// Opens after `spoil` and gives the row that is said to differ; then a rebuild must bring everything back.
async fn spoiled(spoil: &'static str) -> OpenError {
    let folder = Folder::new();
    let keeper = folder.open().await;
    for id in ["a", "b", "c"] {
        set(&keeper, id, json!({"id": id})).await;
    }
    let delete = Change::Delete {
        kind: "thing".into(),
        id: "c".into(),
    };
    keeper
        .append(record(Event::KeyRevoked).changing(delete))
        .await
        .unwrap();
    let before = keeper.rows("thing").await.unwrap();
    keeper.close().await.unwrap();
    sql(&folder.dir, spoil).await;
    let error = folder.try_open().await.unwrap_err();
    assert!(error.is_integrity_broken());
    assert!(error.to_string().contains("doctor --rebuild"), "{error}");
    assert_eq!(rebuild(folder.dir.clone(), folder.keys()).await.unwrap().rows, 2);
    let keeper = folder.open().await;
    assert_eq!(keeper.rows("thing").await.unwrap(), before);
    keeper.close().await.unwrap();
    error
}

#[tokio::test]
async fn every_change_behind_the_log_is_named_and_undone() {
    for (spoil, named) in [
        ("UPDATE rows SET value = '{\"id\":\"x\"}' WHERE id = 'a'", "a"),
        ("UPDATE rows SET log_index = 0 WHERE id = 'b'", "b"),
        ("UPDATE rows SET origin = 'other' WHERE id = 'b'", "b"),
        ("DELETE FROM rows WHERE id = 'a'", "a"),
        ("DELETE FROM rows WHERE id = 'b'", "b"),
        ("INSERT INTO rows VALUES ('thing', 'c', '{}', 'o', 1)", "c"),
        ("INSERT INTO rows VALUES ('api_key', 'me', '{}', 'o', 1)", "me"),
        ("UPDATE rows SET id = 'z' WHERE id = 'b'", "b"),
    ] {
        match spoiled(spoil).await {
            OpenError::ProjectionDiffers { id, .. } => assert_eq!(id, named, "{spoil}"),
            error => panic!("{spoil}: {error}"),
        }
    }
    assert!(matches!(
        spoiled("DELETE FROM positions").await,
        OpenError::ProjectionDiffers { .. }
    ));
    assert!(matches!(
        spoiled("UPDATE positions SET origin = 'other'").await,
        OpenError::ProjectionAhead { .. }
    ));
    assert!(matches!(
        spoiled("UPDATE positions SET position = 1").await,
        OpenError::ProjectionDiffers { .. }
    ));
}

#[tokio::test]
async fn rows_ahead_of_the_log_mean_that_the_log_lost_entries() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!("valid")).await;
    keeper.close().await.unwrap();
    let (log, head) = (
        folder.keep(&folder.dir.log()),
        std::fs::read(folder.dir.head()).unwrap(),
    );
    let keeper = folder.open().await;
    set(&keeper, "a", json!("revoked")).await;
    keeper.close().await.unwrap();
    // The log and its own high-water mark, put back together, are consistent; the rows remember more.
    put_back(&log, &folder.dir.log());
    std::fs::write(folder.dir.head(), head).unwrap();
    for file in files(&folder.dir.journal()) {
        std::fs::remove_file(file).unwrap();
    }
    assert!(matches!(
        folder.try_open().await,
        Err(OpenError::IntegrityBroken { .. })
    ));
    let rebuilt = rebuild(folder.dir.clone(), folder.keys()).await;
    assert!(
        matches!(rebuilt, Err(OpenError::IntegrityBroken { .. })),
        "a rebuild would bring back the valid key"
    );
    recover_log(
        folder.dir.clone(),
        folder.keys(),
        Config::default(),
        Actor::System {},
        UnconfirmedRows::Accept,
    )
    .await
    .unwrap();
    let keeper = folder.open().await;
    assert_eq!(
        keeper.row("thing", "a").await.unwrap().unwrap().value,
        json!("revoked")
    );
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn an_older_database_catches_up_and_a_missing_one_is_made_anew() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!(1)).await;
    keeper.close().await.unwrap();
    let kept = folder.keep(&folder.dir.records_db());
    let keeper = folder.open().await;
    set(&keeper, "a", json!(2)).await;
    set(&keeper, "b", json!(3)).await;
    let rows = keeper.rows("thing").await.unwrap();
    keeper.close().await.unwrap();
    put_back(&kept, &folder.dir.records_db());
    let keeper = folder.open().await;
    assert_eq!(keeper.rows("thing").await.unwrap(), rows);
    keeper.close().await.unwrap();
    std::fs::remove_file(folder.dir.records_db()).unwrap();
    let keeper = folder.open().await;
    assert_eq!(keeper.rows("thing").await.unwrap(), rows);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_rebuilt() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!(1)).await;
    let rows = keeper.rows("thing").await.unwrap();
    keeper.close().await.unwrap();
    let whole = std::fs::read(folder.dir.records_db()).unwrap();
    for from in [0, 100, whole.len() / 2] {
        let mut bytes = whole.clone();
        bytes[from..].fill(0xa5);
        std::fs::write(folder.dir.records_db(), bytes).unwrap();
        let error = folder.try_open().await.unwrap_err();
        assert!(
            matches!(error, OpenError::Rows(_) | OpenError::ProjectionDiffers { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("doctor --rebuild"), "{error}");
        rebuild(folder.dir.clone(), folder.keys()).await.unwrap();
        let keeper = folder.open().await;
        assert_eq!(keeper.rows("thing").await.unwrap(), rows);
        keeper.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_applied_stops_reads_and_commits() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!(1)).await;
    sql(&folder.dir, "DROP TABLE rows").await;
    let revoke = record(Event::KeyRevoked).changing(put("thing", "a", json!("revoked")));
    assert!(matches!(keeper.append(revoke).await, Err(AppendError::Behind(_))));
    assert!(matches!(
        keeper.row("thing", "a").await,
        Err(ReadError::Behind(_))
    ));
    assert!(matches!(
        keeper.append(record(Event::LogExported)).await,
        Err(AppendError::Behind(_))
    ));
    assert!(!keeper.health().projection_follows);
    keeper.close().await.unwrap();
    rebuild(folder.dir.clone(), folder.keys()).await.unwrap();
    let keeper = folder.open().await;
    assert_eq!(
        keeper.row("thing", "a").await.unwrap().unwrap().value,
        json!("revoked")
    );
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_log_put_back_is_found_out_and_a_recovery_keeps_the_rows() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!("valid")).await;
    keeper.close().await.unwrap();
    let kept = folder.keep(&folder.dir.log());
    let keeper = folder.open().await;
    set(&keeper, "a", json!("revoked")).await;
    let rows = keeper.rows("thing").await.unwrap();
    keeper.close().await.unwrap();
    put_back(&kept, &folder.dir.log());
    let error = folder.try_open().await.unwrap_err();
    assert!(matches!(error, OpenError::IntegrityBroken { .. }), "{error:?}");
    let report = recover_log(
        folder.dir.clone(),
        folder.keys(),
        Config::default(),
        Actor::Operator { uid: 1 },
        UnconfirmedRows::Refuse,
    )
    .await
    .unwrap();
    assert_eq!(
        (report.rows_kept, report.rows_accepted),
        (true, 0),
        "the journal still holds what the log has lost"
    );
    for _ in 0..2 {
        let keeper = folder.open().await;
        assert_eq!(keeper.row("thing", "a").await.unwrap().as_ref(), rows.first());
        assert_eq!(keeper.origin(), report.origin);
        set(&keeper, "b", json!(1)).await;
        keeper.close().await.unwrap();
    }
    let made = rebuild(folder.dir.clone(), folder.keys()).await.unwrap();
    assert_eq!(made.rows, 2);
    let keeper = folder.open().await;
    assert_eq!(keeper.row("thing", "a").await.unwrap().unwrap(), rows[0]);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_recovery_without_rows_replays_what_is_left() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!(1)).await;
    let rows = keeper.rows("thing").await.unwrap();
    keeper.close().await.unwrap();
    std::fs::write(
        folder.dir.records_db(),
        b"not a database, and longer than a header of one",
    )
    .unwrap();
    let report = recover_log(
        folder.dir.clone(),
        folder.keys(),
        Config::default(),
        Actor::System {},
        UnconfirmedRows::Refuse,
    )
    .await
    .unwrap();
    assert!(!report.rows_kept);
    let keeper = folder.open().await;
    assert_eq!(keeper.rows("thing").await.unwrap(), rows);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn unknown_versions_are_refused_before_anything_is_touched() {
    let folder = Folder::new();
    std::fs::write(folder.dir.version_file(), "2\n").unwrap();
    let error = folder.try_open().await.unwrap_err();
    assert!(matches!(
        error,
        OpenError::Version(VersionError::Newer { found: 2 })
    ));
    assert!(!folder.dir.lock().exists() && !folder.dir.records_db().exists());
}

#[tokio::test]
async fn a_spent_disk_budget_is_surfaced() {
    let folder = Folder::new();
    let config = Config {
        disk_budget_bytes: Some(1),
        ..Config::default()
    };
    let opened = Keeper::open(folder.dir.clone(), folder.keys(), config).await;
    let refused = match opened {
        Ok(keeper) => keeper
            .append(record(Event::LogExported))
            .await
            .unwrap_err()
            .to_string(),
        Err(error) => error.to_string(),
    };
    assert!(refused.contains("disk_budget_bytes"), "{refused}");
}

#[tokio::test]
async fn the_security_clock_outlives_a_step_back() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let future = keeper.now().plus_ms(3_600_000);
    keeper
        .append(record_at(Event::LogExported, future))
        .await
        .unwrap();
    keeper.close().await.unwrap();
    let keeper = folder.open().await;
    assert!(keeper.now() >= future);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn entries_since_gives_exactly_the_later_ones() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let start = keeper.now();
    let at = |n: i64| Timestamp::from_unix_ms(start.unix_ms() + n * 60_000);
    for n in 1..600 {
        keeper
            .append(record_at(Event::RequestAdmitted, at(n)))
            .await
            .unwrap();
    }
    for since in [0, 1, 2, 255, 256, 300, 599, 600] {
        let mut times = Vec::new();
        keeper
            .entries_since(at(since), &mut |_, record| times.push(record.time))
            .await
            .unwrap();
        let expected: Vec<Timestamp> = (since.max(1)..600).map(at).collect();
        assert!(
            times.ends_with(&expected) && times.len() <= expected.len() + 1,
            "{since}"
        );
    }
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn pruned_entries_are_replaced_by_a_snapshot() {
    let folder = Folder::new();
    let config = Config {
        retention: Retention {
            keep_days: Some(1),
            legal_hold: false,
        },
        ..Config::default()
    };
    let keeper = Keeper::open(folder.dir.clone(), folder.keys(), config.clone())
        .await
        .unwrap();
    keeper.close().await.unwrap();
    std::fs::remove_dir_all(folder.dir.state()).unwrap();
    folder.dir.create().unwrap();
    stockade_crypto::KeyFolder::create(&folder.dir.keys(), None, 1_700_000_000).unwrap();
    let keeper = Keeper::open(folder.dir.clone(), folder.keys(), config.clone())
        .await
        .unwrap();
    let old = Timestamp::from_unix_ms(keeper.now().unix_ms() - 5 * 86_400_000);
    let change = put("thing", "old", json!("still here"));
    keeper
        .append(record_at(Event::KeyCreated, old).changing(change))
        .await
        .unwrap();
    for _ in 0..600 {
        keeper
            .append(record_at(Event::RequestAdmitted, old))
            .await
            .unwrap();
    }
    let rows = keeper.rows("thing").await.unwrap();
    let (minimum, freed) = keeper.prune(Actor::Operator { uid: 1 }).await.unwrap();
    assert!(minimum >= 600 && freed > 0, "{minimum} {freed}");
    keeper.close().await.unwrap();
    let paths = LogPaths {
        log: folder.dir.log(),
        journal: folder.dir.journal(),
        head: folder.dir.head(),
        origins: folder.dir.origins(),
    };
    let trust = LogTrust::of_keyring(&folder.keys()).unwrap();
    let audited = || audit(&paths, &trust, None, &|_| ()).unwrap().current.problems;
    assert_eq!(audited(), [], "what its record names was pruned");
    let file = folder.dir.state().join("retention.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let later = format!("\"minimum_index\":{}", minimum + 1);
    std::fs::write(
        &file,
        text.replacen(&format!("\"minimum_index\":{minimum}"), &later, 1),
    )
    .unwrap();
    assert_eq!(audited()[0].file, "retention.json");
    std::fs::write(&file, text).unwrap();
    for _ in 0..2 {
        let keeper = folder.open().await;
        assert_eq!(keeper.rows("thing").await.unwrap(), rows);
        let mut seen = 0;
        keeper
            .entries_since(Timestamp::from_unix_ms(old.unix_ms() + 1), &mut |_, _| seen += 1)
            .await
            .unwrap();
        assert!(seen >= 2);
        keeper.close().await.unwrap();
        rebuild(folder.dir.clone(), folder.keys()).await.unwrap();
    }
    // A snapshot that was spoiled stands in for nothing.
    let blob = files(&folder.dir.blobs().join("state")).pop().unwrap();
    std::fs::write(&blob, b"{\"format\":1,\"rows\":[]}").unwrap();
    assert!(folder.try_open().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_under_load_are_exact() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let keeper = keeper.clone();
        writers.spawn(async move {
            for n in 0..60 {
                set(&keeper, &format!("{writer}-{}", n % 7), json!(n)).await;
                keeper.append(record(Event::RequestAdmitted)).await.unwrap();
            }
        });
    }
    let mut newest = 0;
    for _ in 0..6 {
        let index = keeper.snapshot().await.unwrap();
        assert!(index > newest);
        newest = index;
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let rows = keeper.rows("thing").await.unwrap();
    assert_eq!(rows.len(), 28);
    keeper.close().await.unwrap();
    // The start replays from the newest snapshot and compares every row.
    let keeper = folder.open().await;
    assert_eq!(keeper.rows("thing").await.unwrap(), rows);
    keeper.close().await.unwrap();
    // So does a rebuild; and without the snapshot's blob both begin at the first entry.
    for file in files(&folder.dir.blobs()) {
        std::fs::remove_file(file).unwrap();
    }
    rebuild(folder.dir.clone(), folder.keys()).await.unwrap();
    let keeper = folder.open().await;
    assert_eq!(keeper.rows("thing").await.unwrap(), rows);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_reader_leaves_no_mark_and_reads_a_copy() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!(1)).await;
    let names = |dir: &std::path::Path| -> Vec<std::path::PathBuf> {
        let mut found = files(dir);
        found.sort();
        found
    };
    let while_open = names(folder.dir.project());
    let reader = Reader::open(folder.dir.clone()).await.unwrap();
    assert!(reader.row("thing", "a").await.unwrap().is_some());
    drop(reader);
    assert_eq!(names(folder.dir.project()), while_open);
    keeper.close().await.unwrap();
    let copy = stockade_store::StateDir::new(folder.temp.path().join("copy"));
    crate::folder::copy(folder.dir.project(), copy.project());
    let before = names(copy.project());
    let reader = Reader::open(copy.clone()).await.unwrap();
    assert_eq!(reader.rows("thing").await.unwrap().len(), 1);
    assert_eq!(names(copy.project()), before);
    drop(reader);
    assert_eq!(names(copy.project()), before);
}

#[tokio::test]
async fn retention_is_asked_before_anything_is_removed() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let refused = keeper.prune(Actor::System {}).await.unwrap_err();
    assert!(refused.to_string().contains("keep_days"), "{refused}");
    keeper.close().await.unwrap();
    let retention = Retention {
        keep_days: Some(1),
        legal_hold: true,
    };
    let config = Config {
        retention,
        ..Config::default()
    };
    let keeper = Keeper::open(folder.dir.clone(), folder.keys(), config)
        .await
        .unwrap();
    let refused = keeper.prune(Actor::System {}).await.unwrap_err();
    assert!(refused.to_string().contains("legal_hold"), "{refused}");
    assert_eq!(
        keeper.health().log.durable_size,
        1,
        "a refusal leaves no record of a removal"
    );
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn an_edited_row_is_believed_by_nobody() {
    for (statement, named) in [
        ("UPDATE rows SET value = '2' WHERE id = 'b'", "b"),
        ("UPDATE rows SET log_index = log_index + 1 WHERE id = 'b'", "b"),
        ("UPDATE rows SET value = 'no json' WHERE id = 'b'", "b"),
        ("UPDATE rows SET value = '1e400' WHERE id = 'b'", "b"),
        ("DELETE FROM rows WHERE id = 'c'", "c"),
        ("INSERT INTO rows VALUES ('thing', 'aa', '1', 'x', 1)", "aa"),
        ("INSERT INTO rows VALUES ('thing', 'z', '1', 'x', 1)", "z"),
    ] {
        let folder = Folder::new();
        let keeper = folder.open().await;
        set(&keeper, "gone", json!(0)).await;
        for id in ["a", "b", "c"] {
            set(&keeper, id, json!(1)).await;
        }
        let delete = Change::Delete {
            kind: "thing".into(),
            id: "gone".into(),
        };
        keeper
            .append(record(Event::PrincipalChanged).changing(delete))
            .await
            .unwrap();
        assert_eq!(keeper.check_rows().await.unwrap(), 3);
        sql(&folder.dir, statement).await;
        let differs = |read: Result<_, ReadError>| match read {
            Err(ReadError::Rows(RowsError::Differs { id, .. })) => assert_eq!(id, named),
            other => panic!("{statement}: {other:?}"),
        };
        differs(keeper.rows("thing").await.map(drop));
        differs(keeper.row("thing", named).await.map(drop));
        differs(keeper.page("thing", "a", 9).await.map(drop));
        differs(keeper.check_rows().await.map(drop));
        assert!(
            keeper.row("thing", "a").await.unwrap().is_some(),
            "the others are there"
        );
        let backup = keeper.dir().project().with_extension("backup");
        let refused = create_backup(&keeper, &backup, None, Actor::System {})
            .await
            .unwrap_err();
        assert!(refused.is_integrity_broken(), "{refused}");
        let mut recorded = 0;
        let mut count =
            |_: u64, record: &Record| recorded += u32::from(record.event == Event::ProjectionDiffers);
        keeper
            .entries_since(Timestamp::from_unix_ms(0), &mut count)
            .await
            .unwrap();
        assert_eq!(recorded, 1, "once, however often it is read");
        keeper.close().await.unwrap();
    }
}
